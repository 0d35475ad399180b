"""Where a campaign stands, read from its folder without touching it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from tentpole.campaign import batches
from tentpole.campaign.budget import budget
from tentpole.campaign.folder import stored_config
from tentpole.campaign.usage import hours_used, shares
from tentpole.storage.atomic import read_json
from tentpole.storage.journal import read
from tentpole.storage.labels import label_files
from tentpole.storage.lock import owner


def summarize(root: Path) -> dict[str, Any]:
    """Plain data for `tentpole status` and the report. Raises StateError for what is no campaign folder."""
    config = stored_config(root)
    events = read(root / "journal.jsonl")
    rounds = []
    number = 0
    while batches.batch_path(root, number).exists():
        rounds.append(round_summary(root, number))
        number += 1
    verdict = root / "verdict.json"
    used = sum(r["labels"] for r in rounds)
    seconds = shares(events)
    total = sum(seconds.values())
    return {
        "name": config.name,
        "folder": str(root),
        "reference": config.reference,
        "rounds": rounds,
        "labels": used,
        "validation_labels": _validation(root),
        "label_files": sum(1 for _ in label_files(root)),
        "failed_labels": sum(r["failed"] for r in rounds),
        "limits": config.stop.model_dump(exclude_none=True),
        "target_force_error_eV_per_A": config.target.force_error_eV_per_A,
        "hours": hours_used(events),
        "budget": budget(root, config, rounds, events),
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "engine_share": seconds["engine"] / total if total else 0.0,
        "driver": owner(root),
        "verdict": read_json(verdict) if verdict.exists() else None,
    }


def round_summary(root: Path, number: int) -> dict[str, Any]:
    """One round: what was asked and why, what came back, and the errors before and after training on it."""
    facts = batches.read_facts(root, number)
    closed = batches.read_closed(root, number) if batches.is_closed(root, number) else None
    done = root / "rounds" / f"r{number:03d}" / "done.json"
    ended = read_json(done) if done.exists() else {}
    validation = ended.get("validation", {})
    new = (closed or {}).get("facts", {})
    return {
        "round": number,
        "asked": len(read_json(batches.batch_path(root, number))["requests"]),
        "labels": len(closed["accepted"]) if closed else 0,
        "failed": len(closed["failed"]) if closed else 0,
        "done": done.exists(),
        "candidates": facts.get("candidates", 0),
        "mishaps": facts.get("mishaps", {}),
        "force_std_chosen": facts.get("force_std_chosen", {}),
        "force_std_remaining": facts.get("force_std_remaining", {}),
        "gain_chosen": facts.get("gain_chosen", {}),
        "gain_remaining": facts.get("gain_remaining", {}),
        "bias_strength_eV": facts.get("bias_strength_eV", {}),
        "new_force_rmse": new.get("force_rmse_eV_per_A"),
        "validation_force_rmse": validation.get("force_rmse_eV_per_A"),
        "coverage": new.get("coverage"),
        "calibration": ended.get("calibration", {}),
        "likeness": validation.get("likeness", ""),
        "validation_energy_rmse": validation.get("energy_rmse_eV_per_atom"),
    }


def first_and_last(summary: dict[str, Any]) -> tuple[float, float]:
    """Validation force RMSE (eV/Å) of the first and of the newest committee; NaN where there is none."""
    errors = [r["validation_force_rmse"] for r in summary["rounds"] if r["validation_force_rmse"] is not None]
    return (errors[0], errors[-1]) if errors else (math.nan, math.nan)


def _validation(root: Path) -> int:
    if not batches.is_closed(root, "validation"):
        return 0
    return len(batches.read_closed(root, "validation")["accepted"])
