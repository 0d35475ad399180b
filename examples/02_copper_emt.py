"""A loop of one's own: copper with a vacancy, 300 to 1200 K, labelled in this script by ASE's EMT.

`Campaign.ask()` trains, explores and selects, and returns the structures that want a label; `tell()` takes the
answers, in any order and portions. Whatever labels (another code, a queue, a colleague) stands between the two.
Stop the script at any time: the same command goes on where it was.

    python examples/02_copper_emt.py runs/copper
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write

from tentpole import Campaign
from tentpole.campaign import Failure, Request
from tentpole.campaign.verdict import Verdict
from tentpole.config.loading import resolve
from tentpole.records import Label


def label(request: Request) -> Label | Failure:
    """What EMT says of one structure: the place for a code of your own."""
    atoms = request.atoms.copy()
    atoms.calc = EMT()
    try:
        return request.label(atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress())
    except ArithmeticError as error:  # a label that fails is an answer too: the campaign goes on without it
        return request.failed("crashed", str(error))


def main(
    folder: Path,
    rounds: int = 3,
    repeat: int = 2,
    temperatures_K: Sequence[float] = (300, 700, 1200),
    steps: int = 300,
    members: int = 4,
    updates: int = 400,
) -> Verdict:
    """Run the campaign in `folder` until its verdict."""
    crystal = bulk("Cu", cubic=True).repeat(repeat)
    del crystal[0]
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "vacancy.xyz", crystal, format="extxyz")
    config = resolve(
        {
            "name": "copper",
            "reference": "emt",
            "structures": [{"file": "vacancy.xyz"}],
            "stop": {"rounds": rounds},
            "initial": {"kind": "rattle", "count": 12, "stdev_A": [0.02, 0.08]},
            "explore": {"temperatures_K": temperatures_K, "steps": steps, "ensemble": {"timestep_fs": 2.0}},
            "committee": {"members": members},
            "training": {"updates": updates, "r_max": 4.0},
            "selection": {"batch": 12},
        },
        folder / "vacancy.xyz",  # relative file names are looked for beside this one
    )
    with Campaign(config, folder / "campaign") as campaign:
        while requests := campaign.ask():
            campaign.tell(label(request) for request in requests)
            print(f"round {campaign.round}: {len(requests)} labels", flush=True)
    verdict = campaign.verdict
    assert verdict is not None  # nothing more to ask: there is one
    print(f"{verdict.kind}: {verdict.reason}")
    return verdict


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/copper"))
