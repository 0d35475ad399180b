"""Candidates and labels as the rule "gradient" sees them: by what the first member's energy depends on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ase import Atoms

from tentpole.campaign.context import Context
from tentpole.records import Candidate, FloatArray
from tentpole.selection import Gradient
from tentpole.selection.base import Labelled, SelectionRule


def in_gradients(
    context: Context, number: int, rule: SelectionRule, candidates: list[Candidate], before: Labelled
) -> tuple[list[Candidate], Labelled]:
    """The same candidates and labels with rows of the committee in force, where the rule wants them."""
    if not isinstance(rule, Gradient) or not candidates:
        return candidates, before
    state = context.state
    frames = [c.snapshot.atoms for c in candidates] + [label.atoms for label in state.labels(number - 1)]
    models, dtype = state.newest_models(number - 1), context.config.committee.dtype
    rows = context.workers.run(gradient_rows, models, dtype, frames, root=context.root)
    shown = [replace(c, fingerprints=row[None]) for c, row in zip(candidates, rows, strict=False)]
    return shown, Labelled(rows[len(candidates) :], before.conditions)


def gradient_rows(models: Path, dtype: str, frames: Sequence[Atoms]) -> FloatArray:
    """(n, 512) sketched derivatives of the first member's energy, as a job for a worker process."""
    from tentpole.committee.cached import committee_in
    from tentpole.entropy import GradientFeatures

    return GradientFeatures(committee_in(models, dtype)).rows(frames)
