#!/usr/bin/env python
"""How much time `[explore] ahead` saves: one campaign with it and one without, everything else the same.

Four copper atoms, labels by the mock reference that sleeps, in Parsl workers of their own as on a cluster; walkers and
training on this machine. With `--local` labels and walkers share the same workers instead.

    python scripts/bench_ahead.py --seconds 8 --rounds 3 --folder build/ahead

Prints both wall times, per phase too, and their ratio; the last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

CAMPAIGN = """\
name = "ahead"
seed = 3
reference = "sleeping.toml"
[[structures]]
file = "copper.xyz"
[stop]
rounds = {rounds}
[initial]
count = 6
stdev_A = [0.05, 0.1]
[explore]
temperatures_K = [600.0]
steps = {steps}
snapshot_every = 10
ahead = {ahead}
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
{executor}
"""

WORKERS = """\
from parsl import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider


def config():
    provider = LocalProvider(init_blocks=1, max_blocks=1)
    executor = HighThroughputExecutor(max_workers_per_node=2, provider=provider)
    return Config(executors=[executor], strategy="none", run_dir={folder!r})
"""


def main() -> int:
    """Run both, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0, help="that one label sleeps")
    parser.add_argument("--steps", type=int, default=400, help="of MD per walker and round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--local", action="store_true", help="labels and walkers share the workers")
    parser.add_argument("--folder", type=Path, default=Path("build/ahead"), help="emptied first")
    given = parser.parse_args()
    folder = given.folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    from ase.build import bulk
    from ase.io import write

    write(folder / "copper.xyz", bulk("Cu", cubic=True), format="extxyz")
    (folder / "sleeping.toml").write_text(f'parent = "mock"\n[parameters]\nseconds = {given.seconds}\n')
    (folder / "workers.py").write_text(WORKERS.format(folder=str(folder / "parsl")))
    executor = "workers = 2" if given.local else f'kind = "parsl"\nconfig = "{folder}/workers.py:config"'
    found = {}
    for name, ahead in (("without", "false"), ("with", "true")):
        path = folder / f"{name}.toml"
        path.write_text(CAMPAIGN.format(rounds=given.rounds, steps=given.steps, ahead=ahead, executor=executor))
        found[name] = run(path, folder / name)
        print(f"{name} ahead: {found[name]['wall_s']} s; waited for {found[name]['seconds']}", flush=True)
    ratio = found["without"]["wall_s"] / found["with"]["wall_s"]
    print(f"{ratio:.2f} times faster with ahead")
    load = os.getloadavg()[0]
    print(json.dumps({"ratio": round(ratio, 3), "labels": "local" if given.local else "parsl", "load": load, **found}))
    return 0


def run(path: Path, root: Path) -> dict[str, object]:
    """Wall time of one campaign, and where its driver says it went."""
    began = time.monotonic()
    command = [sys.executable, "-m", "tentpole", "run", str(path), "--dir", str(root)]
    with (path.with_suffix(".log")).open("wb") as log:
        subprocess.run(command, stdout=log, stderr=log, check=True, timeout=1200)
    wall = round(time.monotonic() - began, 1)
    said = subprocess.run([sys.executable, "-m", "tentpole", "status", str(root), "--json"], capture_output=True)
    facts = json.loads(said.stdout)
    return {"wall_s": wall, "seconds": facts["seconds"], "core_seconds": facts["budget"]["core_seconds"]}


if __name__ == "__main__":
    sys.exit(main())
