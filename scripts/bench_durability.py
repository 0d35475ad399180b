#!/usr/bin/env python
"""What it costs that every fact is on disk before the next one: a campaign whose labels take 10 ms, twice.

The same campaign (round 0: 2000 labels by two workers, then a small committee) runs in turn with its journal on disk,
synced, and with its journal kept in memory. Label files are written and synced by the workers in both. Given are the
medians of the labelling alone, where the journal is written to most, and of the whole campaign, and the medians of the
ratios of neighbouring runs; labelling is timed from the first label that is done, so that workers have started. Beside
them stands the share of the campaign that the driver spent in writing and syncing its journal: the overhead cannot be
larger, since workers go on meanwhile, and it is known where the machine is too busy for the ratio to mean much.

    python scripts/bench_durability.py --repeats 5 --folder build/durability

Prints a table and, as its last line, JSON. Exit status 1 where the whole campaign's overhead is above 2 %.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

LIMIT = 1.02
CAMPAIGN = """\
name = "durability"
seed = 3
reference = "steady.toml"
[[structures]]
file = "copper.xyz"
[stop]
rounds = 0
[initial]
kind = "rattle"
count = {labels}
[committee]
members = 2
[training]
kind = "mace"
channels = 4
max_L = 0
max_ell = 1
correlation = 1
r_max = 3.5
updates = 50
batch_size = 20
[executor]
workers = 2
"""
REFERENCE = """\
calculator = "steady:Steady"
code_version = "1"
properties = ["energy", "forces"]
[parameters]
epsilon = 0.4
sigma = 2.3
"""
STEADY = '''\
"""Lennard-Jones that takes 10 ms."""
import time

from ase.calculators.lj import LennardJones


class Steady(LennardJones):
    def calculate(self, atoms=None, properties=None, system_changes=()):
        began = time.perf_counter()
        super().calculate(atoms, properties, system_changes)
        time.sleep(max(0.0, 0.010 - (time.perf_counter() - began)))
'''


class Memory:
    """A journal that is forgotten."""

    def __init__(self, path: Path) -> None:
        self.events: list[dict[str, Any]] = []

    def append(self, event: str, *, echo: bool = False, **facts: Any) -> None:
        self.events.append({"event": event, **facts})

    def close(self) -> None:
        """Nothing."""

    def __enter__(self) -> Memory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Clock:
    """A watcher that notes when labels were done."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def progress(self, phase: str, done: float, total: float) -> None:
        if phase.endswith("labels"):
            self.at.append(time.perf_counter())

    def note(self, text: str) -> None:
        """Nothing."""


def once(folder: Path, kept: str) -> dict[str, float]:
    """Seconds of one campaign with its journal on disk or in memory."""
    import tentpole.campaign.opening as module
    from tentpole import Campaign
    from tentpole.storage.journal import Journal

    class Timed(Journal):
        spent = 0.0

        def append(self, event: str, *, echo: bool = False, **facts: Any) -> None:
            began = time.perf_counter()
            super().append(event, echo=echo, **facts)
            Timed.spent += time.perf_counter() - began

    target, clock = folder / "run", Clock()
    shutil.rmtree(target, ignore_errors=True)
    module.Journal = Timed if kept == "disk" else Memory  # type: ignore[assignment, misc]
    began = time.perf_counter()
    with Campaign(folder / "campaign.toml", target, progress=clock) as campaign:
        campaign.run()
    whole = time.perf_counter() - began
    return {"labelling": clock.at[-1] - clock.at[0], "whole": whole, "journal": Timed.spent}


def syncs(folder: Path, count: int = 50) -> float:
    """Milliseconds of one line appended and synced here."""
    from tentpole.storage.journal import Journal

    seconds = []
    with Journal(folder / "probe.jsonl") as journal:
        for i in range(count):
            began = time.perf_counter()
            journal.append("label", name="0" * 49, seconds=i)
            seconds.append(time.perf_counter() - began)
    return 1e3 * statistics.median(seconds)


def main() -> int:
    """Run in turn, compare, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="of each (default 5)")
    parser.add_argument("--labels", type=int, default=2000, help="in the campaign (default 2000)")
    parser.add_argument("--folder", type=Path, default=Path("build/durability"), help="emptied first")
    given = parser.parse_args()
    folder = given.folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    from ase.build import bulk
    from ase.io import write

    write(folder / "copper.xyz", bulk("Cu", cubic=True), format="extxyz")
    (folder / "campaign.toml").write_text(CAMPAIGN.format(labels=given.labels))
    (folder / "steady.toml").write_text(REFERENCE)
    (folder / "steady.py").write_text(STEADY)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    sys.path.insert(0, str(folder))
    once(folder, "disk")  # compilers and caches
    found: dict[str, list[dict[str, float]]] = {"disk": [], "memory": []}
    for repeat in range(given.repeats):
        for kept in ("disk", "memory") if repeat % 2 == 0 else ("memory", "disk"):
            found[kept].append(once(folder, kept))
            print(f"{repeat + 1}/{given.repeats} {kept:7s}", found[kept][-1], flush=True)
    facts: dict[str, Any] = {"labels": given.labels, "repeats": given.repeats, "append_ms": round(syncs(folder), 3)}
    for part in ("labelling", "whole"):
        middle = {kept: statistics.median(run[part] for run in runs) for kept, runs in found.items()}
        # side by side in time: the machine's speed drifts by more than what is looked for
        ratio = statistics.median(a[part] / b[part] for a, b in zip(found["disk"], found["memory"], strict=True))
        facts[part] = {**{k: round(v, 3) for k, v in middle.items()}, "ratio": round(ratio, 4)}
        print(f"{part:10s} disk {middle['disk']:7.3f} s  memory {middle['memory']:7.3f} s  ratio {ratio:.4f}")
    facts["journal_share"] = round(statistics.median(run["journal"] / run["whole"] for run in found["disk"]), 4)
    print(f"the driver's journal took {facts['journal_share']:.2%} of the campaign")
    facts["ok"] = min(facts["whole"]["ratio"], 1.0 + facts["journal_share"]) <= LIMIT
    print(json.dumps(facts))
    return 0 if facts["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
