"""What a training costs and what it learns: mace's own command as it was used, against members trained as one.

    python scripts/bench_training.py [--parts cost zundel30 zundel108 zundel900 copper silicon] [--members 4]
        [--kinds before after finished solved] [--updates N] [--json FILE]

before : mace's command for each member by itself, 600 updates, rates falling by epoch, stress weight 10. after : all
members as one, by the defaults. finished : the same to the plateau. solved : as after, then what is left is solved
for (solve = "after"). --updates : so many in place of each kind's own. Errors are on frames that no training saw: the
mean over members of each one's RMSE, and of the committee's mean. Seconds are of the processor (one thread), per
member; each training runs in a process of its own, and what reading and importing cost is left out. The last line is
JSON.

Zundel: ../shared/data/zundel/zundel_dft_1000.extxyz, 300 frames to test on, 33 or 120 labels, of which each member
trains nine tenths; or 100 to test on and 900 labels, of which none is another's twin. Copper: cells of four atoms,
strained by up to 5 %, EMT, 45 labels, 40 frames to test on, r_max 4 Å. Silicon: ../shared/data/silicon, the first of
every four training frames, tested on its test file.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read, write

from tentpole.storage.duplicates import duplicate_of
from tentpole.training import MACESettings, TrainingJob

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
GPA = 160.21766
BEFORE = MACESettings(loop="mace", updates=600, lr_end=0.001, stress_weight=10.0)
AFTER = MACESettings()
KINDS = {
    "before": (BEFORE, False),
    "after": (AFTER, False),
    "finished": (AFTER, True),
    "solved": (replace(AFTER, solve="after"), False),
}


def zundel(labels: int, testing: int = 300) -> tuple[list[Atoms], list[Atoms], dict[str, Any]]:
    frames = [atoms for atoms in read(SHARED / "zundel" / "zundel_dft_1000.extxyz", ":") if len(atoms) == 7]
    order = np.random.default_rng(0).permutation(len(frames))
    shuffled = [frames[k] for k in order]
    first = duplicate_of(shuffled)
    rest = [shuffled[k] for k in range(testing, len(shuffled)) if first[k] == k]
    return rest[:labels], shuffled[:testing], {}


def copper() -> tuple[list[Atoms], list[Atoms], dict[str, Any]]:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(85):
        atoms = bulk("Cu", cubic=True)
        strain = rng.uniform(-0.05, 0.05, (3, 3))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.5 * (strain + strain.T)), scale_atoms=True)
        atoms.positions += rng.normal(0.0, 0.05, (4, 3))
        atoms.calc = EMT()
        atoms.info.update(REF_energy=atoms.get_potential_energy(), REF_stress=atoms.get_stress())
        atoms.arrays["REF_forces"] = atoms.get_forces()
        atoms.calc = None
        found.append(atoms)
    return found[:45], found[45:], {"r_max": 4.0}


def silicon() -> tuple[list[Atoms], list[Atoms], dict[str, Any]]:
    from tentpole.storage.labelled import read_labelled

    train = read_labelled(SHARED / "silicon" / "Si_training.extxyz").frames[::4]
    return train, read_labelled(SHARED / "silicon" / "Si_test.extxyz").frames, {}


SETS = {
    "zundel30": lambda: zundel(33),
    "zundel108": lambda: zundel(120),
    "zundel900": lambda: zundel(900, testing=100),
    "copper": copper,
    "silicon": silicon,
}


def train_here(order: dict[str, Any]) -> None:
    """In a process of its own: train, and print the processor's seconds and the updates."""
    import torch

    from tentpole.training import linear, mace, stacked
    from tentpole.training.convolution import load_kernels
    from tentpole.training.frames import isolated_energies
    from tentpole.training.reports import read_report

    torch.set_num_threads(1)
    load_kernels()
    settings = MACESettings(**order["settings"])
    folder = Path(order["folder"])
    valid = folder / "valid.xyz" if settings.loop == "mace" else None
    train = folder / ("train.xyz" if settings.loop == "mace" else "all.xyz")
    jobs = [TrainingJob(m, m, train, valid, folder, folder / order["name"] / f"m-{m}") for m in order["members"]]
    energies = isolated_energies(settings, read(folder / "all.xyz", ":"))
    said = sys.stdout
    began = time.process_time()
    if settings.loop == "mace":
        with jobs[0].log.open("w") as log, contextlib.redirect_stdout(log):
            os.dup2(log.fileno(), 2)
            command = mace.arguments(jobs[0], settings, mace.scratch_folder(jobs[0]), energies)
            import logging

            logging.basicConfig(stream=log)
            mace.run_here(jobs[0], settings, energies, command)
    elif settings.solve != "no":
        linear.train_and_solve(jobs, settings, energies, finishing=order["finishing"])
    else:
        stacked.train_stacked(jobs, settings, energies, finishing=order["finishing"])
    seconds = (time.process_time() - began) / len(jobs)
    reports = [read_report(job) for job in jobs]
    answer = {
        "seconds": seconds,
        "updates": reports[0].updates,
        "stopped": reports[0].stopped,
        "trained": [report.train_force_rmse for report in reports],
        "held_out": [report.force_rmse for report in reports],
    }
    print(json.dumps(answer), file=said)


def trained(folder: Path, name: str, settings: MACESettings, members: list[int], finishing: bool) -> dict[str, Any]:
    order = {
        "folder": str(folder),
        "name": name,
        "settings": asdict(settings),
        "members": members,
        "finishing": finishing,
    }
    command = [sys.executable, "-W", "ignore", __file__, "--order", json.dumps(order)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise SystemExit(done.stderr[-4000:])
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def errors(folder: Path, name: str, members: int, test: list[Atoms]) -> dict[str, float]:
    """Of single members (mean of their RMSE) and of their mean: meV/Å, meV/atom, GPa."""
    from tentpole.committee import Committee

    stressed = all("REF_stress" in atoms.info for atoms in test)
    found = Committee.load([folder / name / f"m-{m}" for m in range(members)]).evaluate(test, stress=stressed)
    forces = np.concatenate([atoms.arrays["REF_forces"] for atoms in test])
    force_off = np.concatenate(found.forces, axis=1) - forces
    sizes = np.array([len(atoms) for atoms in test])
    energy_off = (found.energies - [atoms.info["REF_energy"] for atoms in test]) / sizes
    answer = {
        "force_meV_per_A": 1e3 * float(np.sqrt((force_off**2).mean((1, 2))).mean()),
        "force_of_mean_meV_per_A": 1e3 * float(np.sqrt((force_off.mean(0) ** 2).mean())),
        "energy_meV_per_atom": 1e3 * float(np.sqrt((energy_off**2).mean(1)).mean()),
    }
    if stressed and found.stresses is not None:
        stress_off = found.stresses - np.array([atoms.info["REF_stress"] for atoms in test])
        answer["stress_GPa"] = GPA * float(np.sqrt((stress_off**2).mean((1, 2))).mean())
    return answer


def compare(part: str, members: int, kinds: list[str], updates: int | None = None) -> dict[str, Any]:
    labels, test, given = SETS[part]()
    if updates is not None:
        given["updates"] = updates
    answer: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        held = [k for k in range(len(labels)) if k % 10 == 9]
        write(folder / "all.xyz", labels, format="extxyz")
        write(folder / "valid.xyz", [labels[k] for k in held], format="extxyz")
        write(folder / "train.xyz", [a for k, a in enumerate(labels) if k not in held], format="extxyz")
        for name in kinds:
            settings, finishing = KINDS[name]
            settings = replace(settings, **given)
            rows = [[m] for m in range(members)] if settings.loop == "mace" else [list(range(members))]
            runs = [trained(folder, name, settings, row, finishing) for row in rows]
            answer[name] = {
                "updates": runs[0]["updates"],
                "stopped": runs[0]["stopped"],
                "seconds_per_member": statistics.median(run["seconds"] for run in runs),
                **errors(folder, name, members, test),
            }
            if settings.loop == "stacked":
                answer[name]["trained_over_held_out"] = statistics.mean(
                    t / h for t, h in zip(runs[0]["trained"], runs[0]["held_out"], strict=True)
                )
            print(part, name, json.dumps(answer[name]), flush=True)
    return answer


def cost(repeats: int = 3, updates: int = 60) -> dict[str, Any]:
    """Processor milliseconds per update and member on Zundel frames, the kinds in turn; medians, and their ratios."""
    labels, _, _ = zundel(33)
    kinds = {
        "mace's command": (BEFORE, [0]),
        "alone": (AFTER, [0]),
        "two": (AFTER, [0, 1]),
        "four": (AFTER, [0, 1, 2, 3]),
    }
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for repeat in range(repeats):
        for kind, (settings, members) in kinds.items():
            found = []
            for many in (updates, 4 * updates):  # the difference leaves out what is done once
                with tempfile.TemporaryDirectory() as scratch:
                    folder = Path(scratch)
                    write(folder / "all.xyz", labels, format="extxyz")
                    write(folder / "train.xyz", labels[:30], format="extxyz")
                    write(folder / "valid.xyz", labels[30:], format="extxyz")
                    run = trained(folder, "m", replace(settings, updates=many), members, False)
                    found.append((run["seconds"], run["updates"]))
            (a, n), (b, more) = found
            seconds[kind].append(1e3 * (b - a) / (more - n))
            print("cost", repeat, kind, round(seconds[kind][-1], 2), "ms", flush=True)
    whole = seconds["mace's command"]
    return {
        kind: {
            "ms_per_update_and_member": statistics.median(values),
            "ratio": statistics.median(v / w for v, w in zip(values, whole, strict=True)),
        }
        for kind, values in seconds.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=["cost", "zundel30", "zundel108", "copper"])
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--updates", type=int)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--order", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.order:
        train_here(json.loads(given.order))
        return
    answer = {
        part: cost() if part == "cost" else compare(part, given.members, given.kinds, given.updates)
        for part in given.parts
    }
    if given.json:
        given.json.write_text(json.dumps(answer, indent=1) + "\n")
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
