"""How often walkers of the first rounds are sent back, with and without ZBL repulsion as a baseline.

python scripts/bench_baseline.py [--seeds 3] [--systems copper zundel] [--out FILE]

The first two rounds of a campaign in one process: four rattled structures are labelled, two members trained on them,
and walkers driven by the first member at high temperatures; four of their frames are labelled and joined, and the same
again. Each stretch of ten steps ends in a sound frame or sends its walker back. One line per system, seed and baseline;
those that are in FILE already are not made again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk

from tentpole.committee import Baseline, Committee, CommitteeCalculator
from tentpole.committee.baseline import carry_baseline
from tentpole.entropy import GOM, Covariance
from tentpole.exploration import ExploreSettings, Langevin, WalkerSeed
from tentpole.exploration.explore import begin, explore
from tentpole.exploration.initial import rattled
from tentpole.exploration.random_numbers import NEWEST
from tentpole.exploration.scoring import FrameScorer
from tentpole.labeling import load
from tentpole.records import Condition
from tentpole.storage.structures import write_frames
from tentpole.training import MACESettings, TrainingJob
from tentpole.training.frames import isolated_energies, learned_frames
from tentpole.training.stacked import Training

ROUNDS, LABELS, STEPS, EVERY = 2, 4, 200, 10
ZUNDEL = Atoms(
    "O2H5",
    [
        [-1.2, 0, 0],
        [1.2, 0, 0],
        [0, 0, 0],
        [-1.6, 0.75, 0.5],
        [-1.6, -0.75, 0.5],
        [1.6, 0.75, -0.5],
        [1.6, -0.75, -0.5],
    ],
)
SYSTEMS = {
    "copper": (bulk("Cu", cubic=True), "emt", (None, None), (2000.0, 4000.0), 2.0),
    "zundel": (ZUNDEL, "xtb", (1, 1), (1000.0, 2500.0), 0.5),
}
SETTINGS = MACESettings(channels=4, max_L=0, r_max=4.0, updates=80)


def labelled(frames: list[Atoms], reference: str, state: tuple[int | None, int | None]) -> list[Atoms]:
    """The frames with the reference's energy and forces."""
    found, method = [], Baseline(reference, *state)  # any reference, frame by frame
    for atoms in frames:
        energy, forces, _ = method.of(atoms)
        if np.isfinite(energy):
            copy = atoms.copy()
            copy.info["REF_energy"], copy.arrays["REF_forces"] = energy, forces
            found.append(copy)
    return found


def committee(folder: Path, frames: list[Atoms], seed: int, baseline: Baseline | None) -> Committee:
    """Two members trained on the frames."""
    folder.mkdir(parents=True)
    write_frames(folder / "train.extxyz", frames if baseline is None else carry_baseline(frames, baseline))
    facts = None if baseline is None else {"name": "zbl", "hash": baseline.hash, "charge": None, "multiplicity": None}
    train = folder / "train.extxyz"
    jobs = [TrainingJob(m, 10 * seed + m, train, None, folder, folder / f"m-{m}", baseline=facts) for m in range(2)]
    Training(jobs, SETTINGS, isolated_energies(SETTINGS, learned_frames(train))).run()
    return Committee.load([job.out for job in jobs], baseline=baseline)


def run(system: str, seed: int, zbl: bool) -> dict[str, object]:
    """Stretches of MD, and mishaps by reason, of each round."""
    start, reference, state, temperatures, step_fs = SYSTEMS[system]
    baseline = Baseline(load("zbl")) if zbl else None
    rng = np.random.default_rng(seed)
    frames = labelled([a for _, a in rattled({system: start}, LABELS, [0.02, 0.05], rng)], reference, state)
    settings = ExploreSettings(STEPS, EVERY, ensemble=Langevin(timestep_fs=step_fs))
    rounds = []
    with tempfile.TemporaryDirectory() as name:
        for number in range(1, ROUNDS + 1):
            voters = committee(Path(name, str(number)), frames, seed, baseline)
            reasons, stretches, seen = Counter[str](), 0, []
            for k, kelvin in enumerate(temperatures):
                calculator = CommitteeCalculator(voters)
                walker = WalkerSeed(seed, number, k, NEWEST)
                found = explore(
                    begin(number, f"w{k:02d}", Condition(system, kelvin), start, walker),
                    calculator,
                    lambda atoms, calc=calculator: (
                        calc.get_property("energy", atoms),
                        calc.get_property("forces", atoms),
                    ),
                    FrameScorer(calculator, GOM(4.0), Covariance()),
                    start,
                    settings,
                    walker,
                )
                reasons.update(mishap.reason for mishap in found.mishaps)
                stretches += len(found.mishaps) + sum(not snapshot.before_mishap for snapshot in found.snapshots)
                seen += [snapshot.atoms for snapshot in found.snapshots]
            rounds.append({"stretches": stretches, "sent_back": sum(reasons.values()), "reasons": dict(reasons)})
            chosen = rng.choice(len(seen), min(LABELS, len(seen)), replace=False) if seen else []
            frames = frames + labelled([seen[int(k)] for k in chosen], reference, state)
    return {"system": system, "seed": seed, "baseline": "zbl" if zbl else "none", "rounds": rounds}


def main() -> None:
    """Run what is asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=SYSTEMS)
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "bench_baseline.jsonl")
    given = parser.parse_args()
    known = given.out.read_text().splitlines() if given.out.exists() else []
    done = {(row["system"], row["seed"], row["baseline"]) for row in map(json.loads, known)}
    for seed in range(1, given.seeds + 1):
        for system in given.systems:
            for zbl in (False, True):
                if (system, seed, "zbl" if zbl else "none") not in done:
                    line = json.dumps(run(system, seed, zbl))
                    with given.out.open("a") as file:
                        file.write(line + "\n")
                    print(line, flush=True)
    rows = [json.loads(line) for line in given.out.read_text().splitlines()]
    told: dict[str, dict[str, list[list[int]]]] = {}
    for system in given.systems:
        for name in ("none", "zbl"):
            told.setdefault(system, {})[name] = counts = []
            own = [row["rounds"] for row in rows if (row["system"], row["baseline"]) == (system, name)]
            for k in range(ROUNDS):
                back, all_of_them = (sum(one[k][key] for one in own) for key in ("sent_back", "stretches"))
                counts.append([back, all_of_them])
                print(f"{system}, baseline {name}, round {k + 1}: {back} of {all_of_them} stretches ended in a mishap")
    print(json.dumps({"sent_back_of_stretches": told}))


if __name__ == "__main__":
    main()
