"""What a campaign asked labels for, why, and what became of each: read back from its folder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tentpole.campaign import batches
from tentpole.campaign.batches import Request
from tentpole.config.schema import CampaignConfig
from tentpole.storage.atomic import read_json
from tentpole.storage.labels import label_files

VALIDATION = "validation"


@dataclass(frozen=True, slots=True)
class Frame:
    """One structure that a label was asked for.

    round : 0 for the initial structures, "validation" for the fixed set. outcome : accepted, failed or
    waiting. error : force RMSE in eV/Å of the committee that had not seen it, NaN where it was not judged.
    failure, message : reason code and text where it failed; folder : where its output is kept.
    label : the label's file where it was accepted.
    """

    request: Request
    round: int | str
    outcome: str
    error: float = math.nan
    failure: str = ""
    message: str = ""
    folder: Path | None = None
    label: Path | None = None

    @property
    def condition(self) -> str:
        return "" if self.request.condition is None else str(self.request.condition)


def read_frames(root: Path, config: CampaignConfig) -> list[Frame]:
    """All that was asked for so far: round 0, the validation set, then the rounds, each in batch order."""
    labels = {path.name.partition("-")[0]: path for path in label_files(root)}
    failures = {path.parent.name.partition("-")[0]: path for path in (root / "quarantine").glob("*/reason.json")}
    names: list[int | str] = [0, VALIDATION]
    while batches.batch_path(root, len(names) - 1).exists():
        names.append(len(names) - 1)
    return [
        frame
        for name in names
        if batches.batch_path(root, name).exists()
        for frame in _of_batch(root, config, name, labels, failures)
    ]


def _of_batch(
    root: Path, config: CampaignConfig, name: int | str, labels: dict[str, Path], failures: dict[str, Path]
) -> list[Frame]:
    errors: dict[str, float] = {}
    if batches.is_closed(root, name):
        judged = batches.read_closed(root, name)["facts"].get("frames", {})
        errors = {label.partition("-")[0]: math.sqrt(error["force_mse"]) for label, error in judged.items()}
    found = []
    for request in batches.read_batch(root, name, "", config.charge, config.multiplicity):
        structure = request.structure
        if structure in labels:
            error = errors.get(structure, math.nan)
            found.append(Frame(request, name, "accepted", error, label=labels[structure]))
        elif structure in failures:
            why = read_json(failures[structure])
            folder = failures[structure].parent
            found.append(Frame(request, name, "failed", math.nan, why["reason"], why["message"], folder))
        else:
            found.append(Frame(request, name, "waiting"))
    return found


def by_condition(frames: Sequence[Frame]) -> dict[str, dict[int, int]]:
    """How many labels each condition was given per round of exploration, failed ones not counted."""
    counts: dict[str, dict[int, int]] = {}
    for frame in frames:
        if isinstance(frame.round, int) and frame.round > 0 and frame.outcome == "accepted":
            row = counts.setdefault(frame.condition, {})
            row[frame.round] = row.get(frame.round, 0) + 1
    return dict(sorted(counts.items()))
