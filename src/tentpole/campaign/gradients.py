"""Candidates and labels as the rule "gradient" sees them: by what the first member's energy depends on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from ase import Atoms

from tentpole.campaign.context import Context
from tentpole.execution.metering import measured
from tentpole.records import Candidate, FloatArray
from tentpole.selection import Gradient
from tentpole.selection.base import Labelled, SelectionRule


def in_gradients(
    context: Context, number: int, rule: SelectionRule, candidates: list[Candidate], before: Labelled
) -> tuple[list[Candidate], Labelled]:
    """The same candidates and labels with rows of the committee in force, where the rule wants them."""
    if not isinstance(rule, Gradient) or not candidates:
        return candidates, before
    state, began = context.state, time.monotonic()
    frames = [c.snapshot.atoms for c in candidates] + [label.atoms for label in state.labels(number - 1)]
    models, dtype = state.newest_models(number - 1), context.config.committee.dtype
    shares = min(context.workers.processes, len(frames))
    counted = partial(measured, context.root, "scoring", gradient_rows, models, dtype)
    parts = context.workers.submit(counted, [frames[share::shares] for share in range(shares)], context.root)
    rows = np.empty((len(frames), parts[0].result().shape[1]))
    for share, part in enumerate(parts):
        rows[share::shares] = part.result()
    context.note_phase("scoring", time.monotonic() - began, number)
    shown = [replace(c, fingerprints=row[None]) for c, row in zip(candidates, rows, strict=False)]
    return shown, Labelled(rows[len(candidates) :], before.conditions)


def gradient_rows(models: Path, dtype: str, frames: Sequence[Atoms]) -> FloatArray:
    """(n, 512) sketched derivatives of the first member's energy, as a job for a worker process."""
    from tentpole.committee.cached import committee_in
    from tentpole.entropy import GradientFeatures

    return GradientFeatures(committee_in(models, dtype)).rows(frames)
