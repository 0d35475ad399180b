"""Campaigns small enough for tests: four copper atoms, EMT or mock labels, two members trained for seconds."""

from pathlib import Path
from typing import Any

import tomli_w
from ase.build import bulk
from ase.io import write


def small_campaign(folder: Path, **changes: Any) -> Path:
    """Write a campaign file with its structure; `changes` replace or (None) remove top-level tables."""
    write(folder / "copper.xyz", bulk("Cu", cubic=True), format="extxyz")
    content: dict[str, Any] = {
        "name": "copper",
        "seed": 5,
        "reference": "emt",
        "structures": [{"file": "copper.xyz"}],
        "stop": {"rounds": 2},
        "initial": {"kind": "rattle", "count": 6, "stdev_A": [0.05, 0.1]},
        "explore": {"temperatures_K": [600.0], "steps": 30, "snapshot_every": 5, "bias": {"ratios": [0.0, 0.3]}},
        "committee": {"members": 2},
        "training": {
            "kind": "mace",
            "channels": 4,
            "max_L": 0,
            "r_max": 4.0,
            "updates": 12,
            "batch_size": 4,
            "finishing": False,
        },
        "selection": {"rule": "uncertainty", "batch": 4, "audit": 0.25},
        "executor": {"workers": 2},
    }
    content |= changes
    path = folder / "campaign.toml"
    path.write_text(tomli_w.dumps({key: value for key, value in content.items() if value is not None}))
    return path
