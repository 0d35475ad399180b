"""Make the files beside this one: `python make.py OUT`, with Tentpole 0.1.0 and the source tree it lies in.

Runs with that version alone; later ones read what it wrote.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.io import write

CAMPAIGN = """\
name = "frozen"
seed = 3
reference = "mock"
[[structures]]
file = "copper.xyz"
[stop]
rounds = {rounds}
[target]
force_error_eV_per_A = 0.01
[initial]
kind = "rattle"
count = 8
stdev_A = [0.05, 0.1]
[validation]
kind = "reference-md"
frames = 20
temperatures_K = [300.0, 900.0]
every = 3
[explore]
temperatures_K = [600.0]
steps = 30
snapshot_every = 5
checkpoint_seconds = 0.001
[explore.bias]
ratios = [0.0, 0.3]
[committee]
members = 2
[training]
kind = "mace"
channels = 4
max_L = 0
max_ell = 1
correlation = 1
r_max = 3.5
updates = 8
batch_size = 4
[selection]
rule = "two_key"
batch = 4
audit = 0.25
[selection.settings]
gain = -1.0
[executor]
workers = 1
"""
ROUNDS = 3
TOLD = 2
SMALL = {"channels": 4, "max_L": 0, "max_ell": 1, "correlation": 1, "r_max": 4.0, "updates": 8}
E0S = {"H": -13.0, "O": -2040.0}


def answer(request: Any) -> Any:
    """A label as a workflow engine of the user's would tell it."""
    from tentpole.labeling import references

    atoms = request.atoms.copy()
    atoms.calc = references.load("mock", ["Cu"]).calculator(atoms=atoms)
    return request.label(atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress(), seconds=0.0)


def begin(folder: Path) -> None:
    """Round 0 with the campaign's own workers, to the end of a campaign of no rounds, which is then given more."""
    from tentpole import Campaign

    beside = folder.with_name(f"{folder.name}-file")
    beside.mkdir(parents=True)
    write(beside / "copper.xyz", bulk("Cu", cubic=True), format="extxyz")
    for rounds in (0, ROUNDS):
        (beside / "campaign.toml").write_text(CAMPAIGN.format(rounds=rounds))
        with Campaign(beside / "campaign.toml", folder) as campaign:
            if rounds == 0:
                campaign.run()


def drive(folder: Path, until: str) -> None:
    """Round 1 by ask and tell, its last structure without a label; half of round 2; then to the end or killed."""
    from tentpole import Campaign

    with Campaign(folder) as campaign:
        requests = campaign.ask()
        campaign.tell([*map(answer, requests[:-1]), requests[-1].failed("unconverged", "no SCF today")])
        requests = campaign.ask()
        campaign.tell(map(answer, requests[:TOLD]))
        if until == "labelling":
            os.kill(os.getpid(), signal.SIGKILL)
        campaign.run()


def driver(folder: Path, until: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, __file__, "--drive", str(folder), until], start_new_session=True)


def killed_exploring(folder: Path) -> None:
    """Kill driver and workers while the second walker of round 2 is between two of its snapshots."""
    live = driver(folder, "end")
    checkpoint = folder / "walkers" / "w01.h5"
    while live.poll() is None:
        if (folder / "snapshots" / "r002-w00.h5").exists() and checkpoint.exists():
            break
        time.sleep(0.002)
    os.killpg(live.pid, signal.SIGKILL)
    live.wait()
    if not checkpoint.exists() or (folder / "snapshots" / "r002-w01.h5").exists():
        raise SystemExit("killed too late: try again")


def prune(source: Path, to: Path, *models: str) -> None:
    """Copy a campaign without this machine's name, processes and logs, and with these models only."""
    gone = shutil.ignore_patterns("lock", "spent", "work", "*.part", "*.log", "*.progress", "models")
    shutil.copytree(source, to, ignore=gone)
    for round in models:
        shutil.copytree(source / "models" / round, to / "models" / round, ignore=gone)


def campaigns(raw: Path, out: Path) -> None:
    for name in ("finished", "halfway", "exploring"):
        begin(raw / name)
    if driver(raw / "finished", "end").wait() != 0:
        raise SystemExit("the campaign did not end")
    driver(raw / "halfway", "labelling").wait()
    killed_exploring(raw / "exploring")
    prune(raw / "finished", out / "finished", "r003")
    prune(raw / "halfway", out / "halfway", "r000", "r001")
    prune(raw / "exploring", out / "exploring")


def water(n: int) -> list[Atoms]:
    """Shaken water molecules with harmonic bonds of 10 eV/Å²."""
    rng, frames = np.random.default_rng(0), []
    for _ in range(n):
        atoms = Atoms("OHH", positions=[[0, 0, 0], [0.76, 0.58, 0], [-0.76, 0.58, 0]])
        atoms.positions += rng.normal(0.0, 0.1, (3, 3))
        energy, forces = -2075.0, np.zeros((3, 3))
        for i, j, length in ((0, 1, 0.96), (0, 2, 0.96), (1, 2, 1.51)):
            vector = atoms.positions[j] - atoms.positions[i]
            d = float(np.linalg.norm(vector))
            energy += 5.0 * (d - length) ** 2
            forces[i] += 10.0 * (d - length) * vector / d
            forces[j] -= 10.0 * (d - length) * vector / d
        atoms.info["REF_energy"], atoms.arrays["REF_forces"] = energy, forces
        frames.append(atoms)
    return frames


def members(raw: Path, out: Path) -> None:
    """A shallow committee, and what it and the campaign's deep one predict for two structures of each kind."""
    from tentpole.steps import train_files

    from tentpole.committee import Committee

    write(raw / "water.xyz", water(12), format="extxyz")
    train_files(raw / "water.xyz", raw / "shallow", members=2, shallow=True, settings={**SMALL, "E0s": E0S}, workers=1)
    gone = shutil.ignore_patterns("*.log", "*.xyz", "*.extxyz")
    shutil.copytree(raw / "shallow", out / "members" / "shallow", ignore=gone)
    copper = [bulk("Cu", cubic=True), bulk("Cu")]
    for k, atoms in enumerate(copper):
        atoms.rattle(0.05, seed=k)
    predictions = {}
    for name, frames in {"members/shallow": water(14)[12:], "halfway/models/r000": copper}.items():
        said = Committee.load(out / name, device="cpu", dtype="float64").evaluate(frames, stress=True)
        predictions[name] = [
            {
                "numbers": atoms.numbers.tolist(),
                "positions": atoms.positions.tolist(),
                "cell": atoms.cell.array.tolist(),
                "pbc": atoms.pbc.tolist(),
                "energies": said.energies[:, k].tolist(),
                "forces": said.forces[k].tolist(),
                "stresses": np.nan_to_num(said.stresses[:, k]).tolist(),
            }
            for k, atoms in enumerate(frames)
        ]
    (out / "members" / "predictions.json").write_text(json.dumps(predictions, indent=1) + "\n")


def pool(out: Path) -> None:
    """A pool as the loopback services of the tests give it, with notes, gaps and rows without a structure."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "pool"))
    from loopback_services import Services
    from tentpole.pool import Pool, read, write
    from tentpole.pool.sources import PageCache, Query, fetch_oqmd

    with Services() as running:
        found = fetch_oqmd(Query(("Ti", "O")), PageCache(None), endpoint=f"{running.base}/oqmdapi")
    structures = tuple(None if k == 4 else s for k, s in enumerate(found.structures or [None] * len(found)))
    columns = {name: column for name, column in found.columns.items() if name not in ("date", "query")}
    write(Pool(columns, structures, (*found.notes, "a note: Å, 17 rows")), out / "pool.h5")
    known = read(out / "pool.h5")
    content = {
        "notes": known.notes,
        "columns": {name: [None if v != v else v for v in column.tolist()] for name, column in known.columns.items()},
        "structures": [
            None
            if atoms is None
            else {"numbers": atoms.numbers.tolist(), "positions": atoms.positions.tolist(), "cell": atoms.cell.tolist()}
            for atoms in known.structures or ()
        ],
    }
    (out / "pool.json").write_text(json.dumps(content, indent=1) + "\n")


def study(raw: Path, out: Path) -> None:
    """A query-by-committee study of two rules, without its models."""
    from tentpole.qbc import QBCSettings, learning_curves, run

    from tentpole.training import MACESettings

    write(raw / "water.xyz", water(24), format="extxyz")
    settings = QBCSettings(
        raw / "water.xyz",
        initial=4,
        test=6,
        valid=4,
        batch=3,
        maximum=7,
        rules={"random": {}, "uncertainty": {}},
        seeds=(0,),
        members=2,
        training=MACESettings(**SMALL, E0s=E0S),
    )
    run(settings, raw / "qbc", parallel=1)
    for path in [raw / "qbc" / "settings.json", *raw.glob("qbc/runs/*/*/round.json")]:
        to = out / "qbc" / path.relative_to(raw / "qbc")
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, to)
    curves = {name: [c.n.tolist(), c.values.tolist()] for name, c in learning_curves(out / "qbc").items()}
    (out / "qbc_curves.json").write_text(json.dumps(curves, indent=1) + "\n")


def main(out: Path) -> None:
    """Write everything into `out`, and what it was pruned from beside it."""
    raw = out.with_name(f"{out.name}-raw")
    out.mkdir(parents=True)
    campaigns(raw, out)
    members(raw, out)
    pool(out)
    study(raw, out)
    sys.path.insert(0, str(Path(__file__).parents[2] / "campaign"))
    from same_end import machine, manifest

    content = {"machine": machine(), "things": manifest(raw / "finished")}
    (out / "finished_manifest.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "--drive":
        drive(Path(sys.argv[2]), sys.argv[3])
    else:
        main(Path(sys.argv[1]))
