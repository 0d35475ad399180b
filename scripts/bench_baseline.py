"""How often walkers of the first rounds are sent back, with and without ZBL repulsion as a baseline.

python scripts/bench_baseline.py [--seeds 3] [--systems copper water] [--folder F]

Few labels, hot MD: what a campaign's first committees are worth. One line per system, baseline and seed; a run that is
there already is not made again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import tomli_w
from ase.build import bulk, molecule
from ase.io import write

from tentpole import Campaign
from tentpole.campaign.record import CampaignRecord

ROUNDS = 2


def campaign(system: str, folder: Path, seed: int, baseline: bool) -> Path:
    """The campaign file."""
    folder.mkdir(parents=True, exist_ok=True)
    copper = system == "copper"
    atoms = bulk("Cu", cubic=True) * (2, 2, 1) if copper else molecule("H2O")
    write(folder / "start.xyz", atoms, format="extxyz")
    explore = {"steps": 300, "snapshot_every": 10, "bias": {"ratios": [0.0, 0.3]}}
    explore |= {"temperatures_K": [1500.0, 3000.0] if copper else [600.0, 1500.0]}
    explore["ensemble"] = {"timestep_fs": 2.0 if copper else 0.5}
    content = {
        "name": system,
        "seed": seed,
        "reference": "emt" if copper else "xtb",
        "structures": [{"file": "start.xyz"}],
        "stop": {"rounds": ROUNDS},
        "initial": {"count": 6},
        "explore": explore,
        "committee": {"members": 2},
        "training": {"r_max": 4.5, "updates": 200, "finishing": False},
        "selection": {"rule": "uncertainty", "batch": 6},
        "executor": {"workers": 1},
    }
    content |= {} if copper else {"charge": 0, "multiplicity": 1}
    content |= {"baseline": {"reference": "zbl"}} if baseline else {}
    path = folder / "campaign.toml"
    path.write_text(tomli_w.dumps(content))
    return path


def run(system: str, folder: Path, seed: int, baseline: bool) -> dict[str, object]:
    """Mishaps of each round by reason, and of how many stretches of MD."""
    path = campaign(system, folder, seed, baseline)
    with Campaign(path, folder / "run") as made:
        made.run()
    found = CampaignRecord.read(folder / "run")
    rounds = [one.facts for one in found.rounds if one.name in range(1, ROUNDS + 1)]
    return {
        "unhealthy": [facts.unhealthy for facts in rounds],
        "stretches": [facts.intervals for facts in rounds],
        "reasons": [facts.mishaps for facts in rounds],
    }


def main() -> None:
    """Run what is asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--systems", nargs="+", default=["copper", "water"])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "bench-baseline")
    given = parser.parse_args()
    for system in given.systems:
        for seed in range(1, given.seeds + 1):
            for baseline in (False, True):
                name = f"{system}-{seed}-{'zbl' if baseline else 'plain'}"
                out = given.folder / f"{name}.json"
                if not out.exists():
                    out.parent.mkdir(parents=True, exist_ok=True)
                    out.write_text(json.dumps(run(system, given.folder / name, seed, baseline)))
                print(name, out.read_text(), flush=True)


if __name__ == "__main__":
    main()
