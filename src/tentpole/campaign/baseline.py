"""The campaign's baseline: computed for what members are trained on, and written down beside them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ase import Atoms

from tentpole.committee.baseline import BASELINE_FILE, Baseline, carry_baseline
from tentpole.config.schema import CampaignConfig
from tentpole.storage.atomic import write_json

Run = Callable[..., Any]
"""Calls a function with its arguments, elsewhere or here."""


def with_baseline(
    config: CampaignConfig, frames: Sequence[Atoms], folder: Path, run: Run
) -> tuple[list[Atoms], dict[str, Any] | None]:
    """Labelled frames as the members in `folder` are trained on them, and what their descriptions say of it.

    Where the campaign has a baseline the frames carry its numbers, which `run` has computed, and `folder` says where
    the campaign's workers find it. Raises StateError where it says nothing of a frame.
    """
    if config.baseline is None:
        return list(frames), None
    source = config.baseline.reference
    facts = asdict(Baseline(source, config.charge, config.multiplicity).facts())
    note_baseline(config, folder)
    return run(_carried, source, config.charge, config.multiplicity, list(frames)), facts


def note_baseline(config: CampaignConfig, folder: Path) -> None:
    """Write down beside the members in `folder` where the campaign's workers find its baseline, if it has one."""
    if config.baseline is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    source = config.baseline.reference
    place = os.path.relpath(source, folder) if source.endswith(".toml") else source
    told = {"version": 1, "reference": place, "charge": config.charge, "multiplicity": config.multiplicity}
    write_json(folder / BASELINE_FILE, told)


def _carried(source: str, charge: int | None, multiplicity: int | None, frames: Sequence[Atoms]) -> list[Atoms]:
    return carry_baseline(frames, Baseline(source, charge, multiplicity))
