"""The small campaign that torture.py breaks: its files, its processes, and the comparison with an undisturbed one."""

from __future__ import annotations

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
from dataclasses import dataclass, field
from pathlib import Path

HOOK = Path(__file__).parent / "torture_hook"
DAMAGE_WORDS = ("delete", "Restore", "Make room", "make sure", "Wait for it", "Choose another")

CAMPAIGN = """\
name = "torture"
seed = 11
reference = "counted.toml"
[[structures]]
file = "copper.xyz"
[stop]
rounds = {rounds}
[initial]
kind = "rattle"
count = 12
stdev_A = [0.05, 0.1]
[explore]
temperatures_K = [600.0]
steps = 60
snapshot_every = 5
checkpoint_seconds = 0.05
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
updates = 6
batch_size = 6
[selection]
rule = "uncertainty"
batch = 8
audit = 0.25
[executor]
workers = 2
walkers_together = 2
"""

REFERENCE = """\
calculator = "counted:Counted"
code_version = "1"
properties = ["energy", "forces"]
[parameters]
epsilon = 0.4
sigma = 2.3
"""


@dataclass
class Run:
    """How a command ended: its exit status, and all that it printed."""

    status: int
    said: str

    def refused(self, *names: str) -> bool:
        """Whether it said, without a traceback, which file is wrong and what to do."""
        words = " ".join(self.said.split())
        clear = self.status == 2 and "Traceback" not in words and any(word in words for word in DAMAGE_WORDS)
        return clear and all(name in words.replace(" ", "") or name in words for name in names)


@dataclass
class Target:
    """One campaign folder under torture. `had` are its labels at the start, `removed` those deleted on purpose."""

    root: Path
    had: set[str] = field(default_factory=set)
    removed: Counter[str] = field(default_factory=Counter)
    runs: int = 0

    @property
    def log(self) -> Path:
        return self.beside("log")

    def beside(self, ending: str) -> Path:
        """A file of ours that belongs to this folder and does not lie in it."""
        return Path(f"{self.root}.{ending}") if not self.root.is_mount() else self.root.parent / f"mount.{ending}"

    def labels(self) -> set[str]:
        return {path.stem for path in self.root.glob("labels/*/*.json")}

    def events(self) -> list[dict[str, object]]:
        """The journal's whole lines."""
        path = self.root / "journal.jsonl"
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        return [json.loads(line.split(b" ", 1)[1]) for line in lines]

    def opened(self) -> int:
        return sum(event["event"] == "opened" for event in self.events())

    def size(self) -> int:
        """How many files that stay are there: it grows as the campaign goes on."""
        kept = ("rounds/*/*.json", "labels/*/*.json", "snapshots/*.h5", "models/*/member-?.json")
        return sum(1 for pattern in kept for _ in self.root.glob(pattern))

    def remove(self, path: Path) -> None:
        """Delete a file as a message advised."""
        path.unlink()
        if path.parent.parent.name == "labels":
            self.removed[path.stem] += 1


class Bench:
    """The campaign's files in `folder`, and runs of it."""

    def __init__(self, folder: Path, rounds: int) -> None:
        from ase.build import bulk
        from ase.io import write

        self.folder, self.rounds = folder, rounds
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write(folder / "copper.xyz", bulk("Cu", cubic=True), format="extxyz")
        (folder / "campaign.toml").write_text(CAMPAIGN.format(rounds=rounds))
        (folder / "counted.toml").write_text(REFERENCE)
        self.calm = Target(folder / "calm")

    def command(self, target: Target) -> list[str]:
        return ["run", str(self.folder / "campaign.toml"), "--dir", str(target.root)]

    def start(self, target: Target, **settings: str) -> subprocess.Popen[bytes]:
        """A driver in a session of its own; `settings` are those of the hook."""
        environment = os.environ | {
            "COLUMNS": "250",
            "PYTHONPATH": os.pathsep.join([str(HOOK), os.environ.get("PYTHONPATH", "")]),
            "TORTURE_ROOT": str(target.root.resolve()),
            "TORTURE_LABELS": str(target.beside("labels")),
            "TORTURE_CALLS": str(target.beside("calls")),
            **settings,
        }
        target.runs += 1
        command = [sys.executable, "-m", "tentpole", *self.command(target)]
        with target.log.open("ab") as log:
            return subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
            )

    def run(self, target: Target, seconds: float = 600, **settings: str) -> Run:
        """A driver to its end; one that hangs is killed, which no undisturbed end comes of."""
        before = target.log.stat().st_size if target.log.exists() else 0
        driver = self.start(target, **settings)
        try:
            status = driver.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            driver.kill()
            status = driver.wait()
        return Run(status, target.log.read_bytes()[before:].decode(errors="replace"))

    def under_way(self, target: Target, **settings: str) -> subprocess.Popen[bytes]:
        """A driver that has opened the campaign, or has ended."""
        before = target.opened()
        driver = self.start(target, **settings)
        while driver.poll() is None and target.opened() == before:
            time.sleep(0.02)
        return driver

    def copy(self, name: str, stage: str, root: Path | None = None) -> Target:
        """The undisturbed campaign as it was in its last round: "exploring", "labelling" (half of the labels are
        there) or "closing" (all are). Into `root`, where given, which is there and empty."""
        root = root or self.folder / name
        last = f"r{self.rounds:03d}"
        shutil.copytree(self.calm.root, root, dirs_exist_ok=True)
        (root / "verdict.json").unlink()
        for models in (root / "models").glob(f"{last}*"):
            shutil.rmtree(models)
        for file in ("labels.json", "done.json"):
            (root / "rounds" / last / file).unlink()
        events = (root / "journal.jsonl").read_bytes().split(b"\n")[:-1]
        told = [json.loads(line.split(b" ", 1)[1]) for line in events]
        decided = next(i for i, e in enumerate(told) if e["event"] == "batch" and e["round"] == self.rounds)
        names = sorted(json.loads((self.calm.root / "rounds" / last / "labels.json").read_text())["accepted"])
        gone = {"exploring": names, "labelling": names[::2], "closing": []}[stage]
        for label in gone:
            (root / "labels" / label[:2] / f"{label}.json").unlink()
        if stage == "exploring":
            shutil.rmtree(root / "rounds" / last)
            for shard in root.glob(f"snapshots/{last}-*.h5"):
                shard.unlink()
        kept = events[: decided + (stage != "exploring")]
        (root / "journal.jsonl").write_bytes(b"".join(line + b"\n" for line in kept))
        target = Target(root)
        target.had = target.labels()
        return target

    def compare(self, target: Target) -> dict[str, int | list[str]]:
        """What differs from the undisturbed end, labels that were there and are not, labels written again."""
        patterns = ("labels/*/*.json", "models/*/*.safetensors", "rounds/*/*.json")
        differing = []
        for pattern in patterns:
            names = {str(p.relative_to(self.calm.root)) for p in self.calm.root.glob(pattern)}
            names |= {str(p.relative_to(target.root)) for p in target.root.glob(pattern)}
            differing += [n for n in sorted(names) if content(self.calm.root / n) != content(target.root / n)]
        log = target.beside("labels")
        written = Counter(log.read_text().split() if log.exists() else [])
        there = target.labels()
        lost = (target.had | set(written)) - there
        again = sum(max(0, written[n] + (n in target.had) - 1 - target.removed[n]) for n in written)
        return {"differing": differing, "lost": len(lost), "recomputed": again}


def content(path: Path) -> str:
    """A file's content, less the seconds that a label took."""
    if not path.exists():
        return "missing"
    if path.parent.parent.name == "labels":
        label = json.loads(path.read_text())
        return json.dumps({key: label[key] for key in ("structure", "reference", "energy", "forces")})
    return hashlib.sha256(path.read_bytes()).hexdigest()


def flip(path: Path, rng: random.Random) -> None:
    """Turn over one bit."""
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def processes_of(target: Target) -> list[int]:
    """The processes that work for a campaign folder, whoever started them."""
    mark = f"TORTURE_ROOT={target.root.resolve()}\0".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in path.read_bytes() + b"\0":
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def gone(target: Target, seconds: float = 120) -> bool:
    """Whether all of a campaign's processes end by themselves within that time."""
    until = time.monotonic() + seconds
    while processes_of(target):
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True
