#!/usr/bin/env python
"""Kill a campaign again and again, resume it each time, and compare its end with an undisturbed one's.

Runs a small campaign (four copper atoms, a cheap reference that counts how often it is called, two tiny MACE
members) once in peace and once with SIGKILLs to the driver at random instants, the workers left to notice by
themselves. Afterwards the labels, the models and the batches must be the same to the last bit, and no structure
may have been computed twice.

    python scripts/torture.py --kills 10 --seed 0 --folder build/torture

Prints a table and, as its last line, JSON. Exit status 1 where anything differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

CAMPAIGN = """\
name = "torture"
seed = 11
reference = "counted.toml"
[[structures]]
file = "copper.xyz"
[stop]
rounds = 2
[initial]
kind = "rattle"
count = 8
stdev_A = [0.05, 0.1]
[explore]
temperatures_K = [600.0]
steps = 60
snapshot_every = 5
checkpoint_seconds = 0.2
[explore.bias]
ratios = [0.0, 0.3]
[committee]
members = 2
[training]
kind = "mace"
channels = 4
max_L = 0
r_max = 4.0
updates = 20
batch_size = 4
[selection]
rule = "uncertainty"
batch = 6
audit = 0.2
[executor]
workers = 2
"""

STAGES = ("exploring", "labelling", "training")
ROUNDS = 2

REFERENCE = """\
calculator = "counted:Counted"
code_version = "1"
properties = ["energy", "forces"]
[parameters]
epsilon = 0.4
sigma = 2.3
"""

COUNTED = '''\
"""Lennard-Jones that takes its time and writes down each structure it is asked for."""
import hashlib
import os
import time

from ase.calculators.lj import LennardJones


class Counted(LennardJones):
    def calculate(self, atoms=None, properties=None, system_changes=()):
        super().calculate(atoms, properties, system_changes)
        time.sleep(0.05)
        with open(os.environ["COUNTED_LOG"], "a") as log:
            log.write(hashlib.sha256(atoms.positions.tobytes()).hexdigest() + "\\n")
'''


def main() -> int:
    """Run, compare, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10, help="how many SIGKILLs (default 10)")
    parser.add_argument("--seed", type=int, default=0, help="of the instants")
    parser.add_argument("--folder", type=Path, default=Path("build/torture"), help="emptied first")
    given = parser.parse_args()
    folder = given.folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    prepare(folder)
    calm, kills = folder / "calm", folder / "killed"
    began = time.monotonic()
    if run(folder, calm) != 0:
        print(f"the undisturbed campaign failed: see {folder}/calm.log")
        return 1
    length = time.monotonic() - began
    print(f"undisturbed: {length:.1f} s")
    where = disturb(folder, kills, given.kills, random.Random(given.seed))
    status = run(folder, kills)
    facts = compare(calm, kills, folder) | {"kills": sum(where.values()), "killed_during": dict(where)}
    good = status == 0 and not facts["differing"] and not facts["computed_twice"]
    print(json.dumps({"ok": good, "undisturbed_s": round(length, 1), "final_status": status, **facts}))
    return 0 if good else 1


def prepare(folder: Path) -> None:
    """The campaign's files."""
    from ase.build import bulk
    from ase.io import write

    write(folder / "copper.xyz", bulk("Cu", cubic=True), format="extxyz")
    (folder / "campaign.toml").write_text(CAMPAIGN)
    (folder / "counted.toml").write_text(REFERENCE)
    (folder / "counted.py").write_text(COUNTED)


def start(folder: Path, target: Path) -> subprocess.Popen[bytes]:
    """The driver, in a session of its own so that only it is hit by the kill."""
    environment = os.environ | {
        "COUNTED_LOG": str(folder / f"{target.name}.calls"),
        "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]),
    }
    log = (folder / f"{target.name}.log").open("ab")
    command = [sys.executable, "-m", "tentpole", "run", str(folder / "campaign.toml"), "--dir", str(target)]
    return subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)


def run(folder: Path, target: Path) -> int:
    """A campaign to its end."""
    return start(folder, target).wait(timeout=600)


def disturb(folder: Path, target: Path, kills: int, rng: random.Random) -> Counter[str]:
    """Kill the driver `kills` times, spread over the stages of the campaign in their order, each time a random
    moment after its stage began; returns what was under way."""
    where: Counter[str] = Counter()
    stages = [number for number in range(3 * ROUNDS + 3) if number > 0]  # stage 0 would explore without models
    for kill in range(kills):
        driver = start(folder, target)
        wanted = stages[kill * len(stages) // kills]
        while stage(target) < wanted and driver.poll() is None:
            time.sleep(0.005)
        delay = rng.uniform(0.0, 0.4 if wanted % 3 == 1 else 3.0)  # labelling is over in a moment
        try:
            driver.wait(timeout=delay)
        except subprocess.TimeoutExpired:
            driver.send_signal(signal.SIGKILL)
            driver.wait()
        else:
            print(f"the campaign ended before kill {kill + 1}")
            break
        name = f"round {stage(target) // 3}, {STAGES[stage(target) % 3]}"
        where[name] += 1
        print(f"kill {kill + 1}: {name}, {delay:.2f} s after stage {wanted} was reached", flush=True)
    return where


def stage(target: Path) -> int:
    """How far a campaign is, from its journal: 3 stages a round, in the order of STAGES."""
    path = target / "journal.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    events = [json.loads(line.split(b" ", 1)[1])["event"] for line in lines]
    done = events.count("round done")
    since = events[len(events) - events[::-1].index("round done") :] if done else events
    closed = "closed round" in since
    return 3 * done + (2 if closed else 1 if "batch" in since else 0)


def compare(calm: Path, killed: Path, folder: Path) -> dict[str, object]:
    """What differs between the two ends, and what was computed more than once."""
    patterns = ("labels/*/*.json", "models/*/*.safetensors", "rounds/*/batch.json", "rounds/*/labels.json")
    differing = []
    for pattern in patterns:
        names = {str(p.relative_to(calm)) for p in calm.glob(pattern)}
        names |= {str(p.relative_to(killed)) for p in killed.glob(pattern)}
        differing += [name for name in sorted(names) if content(calm / name) != content(killed / name)]
    calls = Counter((folder / "killed.calls").read_text().split())
    labels = len(list(killed.glob("labels/*/*.json")))
    return {
        "labels": labels,
        "models": len(list(killed.glob("models/*/*.safetensors"))),
        "differing": differing,
        "computed_twice": sum(1 for count in calls.values() if count > 1),
        "computed": len(calls),
    }


def content(path: Path) -> str:
    """A file's content, less the seconds that a label took."""
    if not path.exists():
        return "missing"
    if path.parent.parent.name == "labels":
        label = json.loads(path.read_text())
        return json.dumps({key: label[key] for key in ("structure", "reference", "energy", "forces")})
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
