#!/usr/bin/env python3
"""What `tentpole init` proposes and what `check` would say of its time, for systems of several sizes.

By CPU time of one core, so that other work on the machine does not count: on an idle machine it is wall time. Labels
are left out, they are the reference's. Ends with the table as JSON.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from pathlib import Path

time.monotonic = time.process_time  # before what measures imports it

from ase import Atoms  # noqa: E402
from ase.build import bulk, molecule  # noqa: E402
from ase.io import read  # noqa: E402

from tentpole.campaign.plan import planned  # noqa: E402
from tentpole.campaign.timing import measured  # noqa: E402
from tentpole.config.loading import given_frames, load, starting_structures  # noqa: E402
from tentpole.config.proposal import propose  # noqa: E402

ZUNDEL = Path(__file__).resolve().parents[1] / "examples" / "01_zundel" / "zundel.xyz"


def systems() -> dict[str, tuple[Atoms, str, list[int], list[int]]]:
    """Name → structure, reference, and the charge and multiplicity that it needs."""
    zundel = read(ZUNDEL)
    assert isinstance(zundel, Atoms)
    return {
        "ethanol": (molecule("CH3CH2OH"), "xtb", [0], [1]),
        "Zundel cation": (zundel, "xtb", [1], [1]),
        "copper": (bulk("Cu", cubic=True), "emt", [], []),
        "copper, 32 atoms": (bulk("Cu", cubic=True).repeat(2), "emt", [], []),
        "copper, 108 atoms": (bulk("Cu", cubic=True).repeat(3), "emt", [], []),
    }


def measure(folder: Path, atoms: Atoms, reference: str, charge: list[int], multiplicity: list[int]) -> dict[str, float]:
    """Seconds of one core for what `init` proposes for these atoms."""
    folder.mkdir()
    structure, file = folder / "start.xyz", folder / "campaign.toml"
    atoms.write(structure)
    file.write_text(propose([structure], file, reference, charge, multiplicity), encoding="utf-8")
    config = load(file)
    starts = starting_structures(config, file)
    plan, cost = planned(config, given_frames(config, file)), measured(config, starts)
    assert cost is not None
    settings, warm = config.training.build(), config.training.warm_start
    first = settings.updates_of(plan.initial, warm=False) * cost.update_s * cost.groups + cost.setup_s
    md = math.ceil(plan.walkers) * config.explore.steps * cost.walker_step_s
    training = settings.updates_of(plan.initial + plan.batch, warm=warm) * cost.update_s * cost.groups + cost.setup_s
    return {
        "atoms": len(atoms),
        "members": config.committee.members,
        "update_ms": 1000 * cost.update_s * cost.groups,
        "step_ms": 1000 * cost.walker_step_s,
        "first_committee_s": first,
        "md_s": md,
        "training_s": training,
    }


def main() -> None:
    rows = {}
    with tempfile.TemporaryDirectory() as name:
        for number, (what, of) in enumerate(systems().items()):
            rows[what] = {key: round(value, 1) for key, value in measure(Path(name) / str(number), *of).items()}
            print(what, rows[what], flush=True)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
