"""The rounds that are done, as the verdict's tests take them, from their files alone."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from tentpole.campaign import batches
from tentpole.campaign.evaluation import group_errors
from tentpole.campaign.verdict import Round
from tentpole.config.schema import CampaignConfig
from tentpole.storage.atomic import read_json

VALIDATION = "validation"
"""Name of the fixed set's batch, which belongs to round 0."""


def done_path(root: Path, round: int) -> Path:
    """The file that ends a round."""
    return root / "rounds" / f"r{round:03d}" / "done.json"


def rounds_done(root: Path) -> int:
    """How many rounds are done, which is the number of the one under way: all three files of a done one are there."""
    round = 0
    while all(path.exists() for path in (*_decided_and_closed(root, round), done_path(root, round))):
        round += 1
    return round


def _decided_and_closed(root: Path, round: int) -> list[Path]:
    names: list[int | str] = [round]
    if round == 0 and any(path(root, VALIDATION).exists() for path in (batches.batch_path, batches.closed_path)):
        names.append(VALIDATION)
    return [path(root, name) for name in names for path in (batches.batch_path, batches.closed_path)]


def validation_error(root: Path, round: int) -> float:
    """Force RMSE (eV/Å) on the fixed set of the committee made after `round`; NaN where there is none."""
    value = read_json(done_path(root, round)).get("validation", {}).get("force_rmse_eV_per_A")
    return math.nan if value is None else float(value)


def history(root: Path, config: CampaignConfig) -> list[Round]:
    """All rounds that are done, the initial one first."""
    return [_round(root, config, number) for number in range(rounds_done(root))]


def _round(root: Path, config: CampaignConfig, number: int) -> Round:
    closed = batches.read_closed(root, number)
    errors = closed["facts"].get("frames", {})
    facts = batches.read_facts(root, number)
    reference = next((name.partition("-")[2] for name in closed["accepted"] + closed["failed"]), "")
    batch = batches.read_batch(root, number, reference, config.charge, config.multiplicity)
    asked = {request.name: request for request in batch}
    return Round(
        labels=len(closed["accepted"]),
        picked=sum(not request.audit for request in asked.values()),
        frame_errors=np.array([error["force_mse"] for error in errors.values()]),
        audit=[asked[name].audit for name in errors],
        groups=group_errors(asked, closed["facts"]),
        validation=validation_error(root, number),
        intervals=facts.get("intervals", 0),
        unhealthy=facts.get("unhealthy", 0),
        plain_unhealthy=facts.get("plain_unhealthy", 0),
    )
