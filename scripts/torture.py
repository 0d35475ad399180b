#!/usr/bin/env python
"""Kill and break a campaign in every way a long one meets, go on each time, and compare its end with a calm one's.

A small campaign (four copper atoms, a cheap reference, two tiny MACE members, really trained) runs once in peace.
Then the faults: SIGKILL at random instants, SIGTERM, Ctrl-C, a full disk, a read-only folder, a torn journal,
truncated files, an empty label, flipped bits, a clock set back, two drivers, and a stop before any kind of write.
After each the same command goes on. Its end must have the same labels, models and batches to the last bit, with no
label lost and none written twice; or the command must refuse clearly, naming the file and the remedy. The remedy is
then applied, and the end compared.

    python scripts/torture.py                        all faults, 200 kills: about half an hour
    python scripts/torture.py --short                a bit of every kind: about two minutes
    python scripts/torture.py --faults disk,flip     some of them

Prints what happens, a table, and JSON as its last line. Exit status 1 where one fails. The faults of the disk need
root for a small tmpfs; elsewhere the largest file is limited instead, and the read-only folder is counted as skipped.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from torture_bench import Bench, Target, flip, gone
from torture_hook.sitecustomize import stop_name


class Torture:
    """All that the faults share: the bench, how much of each, and the counts."""

    def __init__(self, bench: Bench, kills: int, seed: int, short: bool) -> None:
        self.bench, self.kills, self.short = bench, kills, short
        self.rng = random.Random(seed)
        self.counts: dict[str, Counter[str]] = {}
        self.failures: list[str] = []
        self.notes: dict[str, str] = {}
        self.began = time.monotonic()
        self.planned: list[str] = []
        self.shared: dict[str, Target] = {}
        self.waiting: list[tuple[str, Target, int]] = []
        self.share = 0.0  # of the fault that is under way

    def add(self, fault: str, what: str, number: int = 1) -> None:
        self.counts.setdefault(fault, Counter())[what] += number

    def tell(self, fault: str, text: str) -> None:
        spent = time.monotonic() - self.began
        cost = {name: COST.get(name, 1.0) for name in self.planned} | {"kill": self.kills / 8, "calm": 0.5, "end": 1.0}
        order = ["calm", *self.planned, "end"]
        done = sum(cost[name] for name in order[: order.index(fault)]) + cost[fault] * self.share
        left = spent * (sum(cost[name] for name in order) / max(done, 0.5) - 1.0)
        print(f"[{spent:5.0f} s, about {left / 60:.0f} min left] {fault}: {text}", flush=True)

    def fail(self, fault: str, text: str) -> None:
        self.add(fault, "failed")
        self.failures.append(f"{fault}: {text}")
        self.tell(fault, f"FAILED {text}")

    def new(self, name: str) -> Target:
        """A campaign from its beginning; where short, one for all faults that want that."""
        if not self.short:
            return Target(self.bench.folder / name)
        return self.shared.setdefault("new", Target(self.bench.folder / "new"))

    def staged(self, name: str, stage: str, root: Path | None = None) -> Target:
        """A campaign in its last round; where short, one before its exploration for all faults that want that."""
        if not self.short:
            return self.bench.copy(name, stage, root)
        if "staged" not in self.shared:
            place = self.disk()
            self.shared["staged"] = self.bench.copy("staged", "exploring", place)
        return self.shared["staged"]

    def disk(self) -> Path | None:
        """A tmpfs for one campaign, emptied, or None where this user may not mount one."""
        place = self.bench.folder / "disk"
        self.leave_disk()
        for ours in self.bench.folder.glob("mount.*"):
            ours.unlink()
        place.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={ROOM_KB}k", "tentpole-torture", str(place)]
        done = subprocess.run(command, capture_output=True)
        return place if done.returncode == 0 else None

    def leave_disk(self) -> None:
        place = self.bench.folder / "disk"
        if place.is_mount():
            subprocess.run(["umount", "--lazy", place], check=True)

    def finish(self, fault: str, target: Target, survived: int = 1) -> None:
        """Go on to the end and compare it; `survived` is how many injections that end speaks for. Where short, later:
        one end for all faults that share a campaign."""
        self.waiting.append((fault, target, survived))
        if not self.short:
            self.settle()

    def settle(self) -> None:
        """The ends of all campaigns that wait for theirs."""
        for root in dict.fromkeys(target.root for _, target, _ in self.waiting):
            here = [(fault, target, n) for fault, target, n in self.waiting if target.root == root]
            fault, target, _ = here[0]
            ended = self.bench.run(target)
            found = self.bench.compare(target)
            self.add(fault, "lost", int(found["lost"]))
            self.add(fault, "recomputed", int(found["recomputed"]))
            if ended.status != 0:
                self.fail(fault, f"{root.name} ended with status {ended.status}: {ended.said[-1500:]}")
            elif found["differing"] or found["lost"] or found["recomputed"]:
                self.fail(fault, f"{root.name}: {found}")
            else:
                for name, _, survived in here:
                    self.add(name, "survived", survived)
                self.tell("end" if self.short else fault, f"{root.name}: the same end")
        self.waiting = []

    def refused(self, fault: str, target: Target, what: str, *names: str, **settings: str) -> bool:
        """The command must end by itself, saying what is wrong with which file, and what to do."""
        ended = self.bench.run(target, 900, **settings)
        if ended.refused(*names):
            self.add(fault, "refused")
            self.tell(fault, f"{what}: refused by name")
            return True
        self.fail(fault, f"{what}: status {ended.status}, {names} or the remedy not named: {ended.said[-1500:]}")
        return False


def kill(t: Torture) -> None:
    """SIGKILL to the driver at random instants, its workers left to notice by themselves."""
    left, number = t.kills, 0
    while left > 0:
        number += 1
        target = t.new(f"killed-{number}") if not t.short else t.staged("killed", "exploring")
        span, here = 4.0, 0
        while left > 0:
            before = target.size()
            driver = t.bench.under_way(target)
            try:
                driver.wait(timeout=t.rng.uniform(0.0, span))
                break  # it came to its end
            except subprocess.TimeoutExpired:
                driver.kill()
                driver.wait()
            left, here = left - 1, here + 1
            t.add("kill", "injected")
            t.share = 1 - left / t.kills
            span = span * 1.4 if target.size() == before else 4.0  # imports alone take seconds
        t.tell("kill", f"{target.root.name}: {here} kills, {t.kills - left} of {t.kills}")
        t.finish("kill", target, here)
        if t.short:
            return


def stopped(fault: str, number: signal.Signals, status: int) -> Callable[[Torture], None]:
    """A signal that asks to stop: state saved, the command to go on said, no process left."""

    def inject(t: Torture) -> None:
        target = t.new(fault)
        times = 1 if t.short else 6
        for k in range(times):
            driver = t.bench.under_way(target)
            time.sleep(t.rng.uniform(0.0, 2.0 + 2.0 * k))
            before = target.log.stat().st_size
            (os.killpg if number == signal.SIGINT else os.kill)(driver.pid, number)  # a terminal tells the group
            t.add(fault, "injected")
            try:
                ended = driver.wait(timeout=600)
            except subprocess.TimeoutExpired:
                driver.kill()
                ended = driver.wait()
            said = target.log.read_bytes()[before:].decode()
            if ended == 0:
                break
            clean = "To go on: tentpole run" in said and "Traceback" not in said
            if ended != status or not clean or target.events()[-1]["event"] != "closed" or not gone(target):
                t.fail(fault, f"status {ended}, said {said!r}")
        t.finish(fault, target, times)

    return inject


def remount(place: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", place], check=True)


def disk(t: Torture) -> None:
    """A disk that is full sooner or later; then there is room again."""
    for k, spare in enumerate([4] if t.short else [0, 4, 24, 80, 200, 100]):
        stage = ("exploring", "labelling", "closing")[k % 3]
        target = t.staged(f"disk-{k}", stage, None if t.short else t.disk())
        t.add("disk", "injected")
        if not target.root.is_mount():
            t.notes["disk"] = "no tmpfs: RLIMIT_FSIZE was used"
            limit = (target.root / "journal.jsonl").stat().st_size + 40 * spare
            if t.refused("disk", target, f"largest file {limit} B", str(target.root), TORTURE_FSIZE=str(limit)):
                t.finish("disk", target)
            continue
        t.notes["disk"] = "a tmpfs"
        used = shutil.disk_usage(target.root).used
        remount(target.root, f"size={used // 1024 + spare}k")
        good = t.refused("disk", target, f"{stage}, {spare} kB free", str(target.root))
        good &= gone(target)
        remount(target.root, f"size={ROOM_KB}k")
        if good:
            t.finish("disk", target)


def read_only(t: Torture) -> None:
    """A folder that may not be written, until it may."""
    target = t.staged("read-only", "labelling", None if t.short else t.disk())
    if not target.root.is_mount():
        t.add("read-only", "skipped")
        t.notes["read-only"] = "skipped: no tmpfs may be mounted here"
        return
    gone(target)
    remount(target.root, "ro")
    t.add("read-only", "injected")
    good = t.refused("read-only", target, "mounted read-only", str(target.root))
    remount(target.root, "rw")
    if good:
        t.finish("read-only", target)


def journal(t: Torture) -> None:
    """A last line that was torn, and a damaged one in the middle."""
    target = t.staged("journal", "closing")
    path = target.root / "journal.jsonl"
    path.write_bytes(path.read_bytes()[: -t.rng.randrange(2, 30)])
    t.add("journal", "injected", 2)
    lines = path.read_bytes().split(b"\n")
    middle = t.rng.randrange(1, len(lines) - 2)
    path.write_bytes(b"\n".join([*lines[:middle], lines[middle].replace(b'"', b"'", 1), *lines[middle + 1 :]]))
    if t.refused("journal", target, f"line {middle + 1} damaged", str(path), f"line {middle + 1}"):
        kept = path.read_bytes().split(b"\n")
        path.write_bytes(b"\n".join(kept[:middle] + kept[middle + 1 :]))
    t.finish("journal", target, 2)


Case = tuple[str, str, Callable[[Path], None]]


def damages(t: Torture, fault: str, cases: Sequence[Case], stage: str) -> None:
    """Damage a file, be refused by its name, delete what the message names, go on."""
    for k, (what, pattern, damage) in enumerate(cases):
        target = t.staged(f"{fault}-{k}", stage)
        path = sorted(target.root.glob(pattern))[0]
        damage(path)
        t.add(fault, "injected")
        if t.refused(fault, target, what, str(path)):
            member = path.name.startswith("member-")
            for file in [path.with_suffix(".json"), path.with_suffix(".safetensors")] if member else [path]:
                target.remove(file)
            t.finish(fault, target)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncated(t: Torture) -> None:
    """HDF5 files that lack their second half: a shard of the round before, this round's, a checkpoint."""
    target = t.staged("truncated", "exploring")
    before = sorted(target.root.glob("snapshots/*.h5"))
    source = before[0] if before else sorted(t.bench.calm.root.glob("snapshots/*.h5"))[0]
    walkers = target.root / "walkers"
    walkers.mkdir(exist_ok=True)
    damaged = walkers / f"{source.stem.split('-')[1]}.h5"
    shutil.copy(source, damaged)
    cut(damaged)
    last = f"r{t.bench.rounds:03d}"
    whole = sorted(t.bench.calm.root.glob(f"snapshots/{last}-*.h5"))[-1]
    files = [damaged]
    if not t.short:
        files.append(Path(shutil.copy(whole, target.root / "snapshots")))
        cut(files[1])
    t.add("truncated", "injected", len(files))
    for file in files:  # both are read at once: whichever is met first is told of
        ended = t.bench.run(target, 900)
        named = next((f for f in files if ended.refused(str(f))), None)
        if named is None:
            t.fail("truncated", f"{file}: status {ended.status}: {ended.said[-1500:]}")
            return
        t.add("truncated", "refused")
        t.tell("truncated", f"{named.name}: refused by name")
        target.remove(named)
    if t.bench.rounds > 1:
        for file in (*target.root.glob(f"snapshots/{last}-*.h5"), *walkers.glob("*.h5")):
            target.remove(file)  # what is left to start from is the round before
        old = sorted(target.root.glob("snapshots/r001-*.h5"))[0]
        cut(old)
        t.add("truncated", "injected")
        if t.refused("truncated", target, "a shard of the round before", str(old)):
            target.remove(old)
    t.finish("truncated", target, t.counts["truncated"]["injected"])


def zero(t: Torture) -> None:
    """A label of no length: one of the round under way, and one of a round that is closed."""
    batch = json.loads((t.bench.calm.root / f"rounds/r{t.bench.rounds:03d}/labels.json").read_text())["accepted"]
    now = f"labels/*/{batch[0]}.json"
    first = json.loads((t.bench.calm.root / "rounds/r000/labels.json").read_text())["accepted"][0]
    cases = [("this round's label", now, empty), ("an earlier label", f"labels/*/{first}.json", empty)]
    damages(t, "empty", cases[1:] if t.short else cases, "closing")


def flipped(t: Torture) -> None:
    """One bit in a label, a model's weights, its description, a list of members, a batch, an outcome."""

    def one(path: Path) -> None:
        flip(path, t.rng)

    first = json.loads((t.bench.calm.root / "rounds/r000/labels.json").read_text())["accepted"][1]
    models = f"models/r{t.bench.rounds - 1:03d}"
    cases = [
        ("label", f"labels/*/{first}.json", one),
        ("weights", f"{models}/member-1.safetensors", one),
        ("description", f"{models}/member-0.json", one),
        ("committee", f"{models}/committee.json", one),
        ("batch", f"rounds/r{t.bench.rounds:03d}/batch.json", one),
        ("outcome", "rounds/r000/labels.json", one),
    ]
    damages(t, "flip", cases[1:2] if t.short else cases, "closing")


def clock(t: Torture) -> None:
    """A clock that goes back a day in the middle of the work, and is a day late from then on."""
    target = t.staged("clock", "exploring")
    t.add("clock", "injected")
    driver = t.bench.under_way(target, TORTURE_CLOCK=f"86400,{t.rng.uniform(1.5, 2.0 if t.short else 6.0):.2f}")
    try:
        driver.wait(timeout=t.rng.uniform(2.0, 3.0 if t.short else 8.0))
    except subprocess.TimeoutExpired:
        driver.kill()
        driver.wait()
    again = t.bench.under_way(target, TORTURE_CLOCK="86400,0")  # late from its first moment
    time.sleep(t.rng.uniform(1.0, 1.5 if t.short else 4.0))
    again.kill()
    again.wait()
    t.finish("clock", target)


def drivers(t: Torture) -> None:
    """Two at once, also from the first moment; locks of the dead, of another host, of a pid that lives again."""
    fault = "drivers"
    target = t.new("drivers")
    for _ in range(1 if t.short else 4):
        pair = [t.bench.start(target) for _ in range(2)]
        t.add(fault, "injected")
        until = time.monotonic() + 600
        while all(driver.poll() is None for driver in pair) and time.monotonic() < until:
            time.sleep(0.02)
        lost = [driver for driver in pair if driver.poll() is not None]
        words = " ".join(target.log.read_text().split())
        if len(lost) == 1 and lost[0].returncode == 2 and "another driver works here" in words:
            t.add(fault, "refused")
        else:
            t.fail(fault, f"two at once: {[driver.poll() for driver in pair]}: {words[-800:]}")
        target.log.unlink()
        for driver in pair:
            driver.kill()
            driver.wait()
        if not t.short:
            gone(target)
            shutil.rmtree(target.root)
            target.beside("labels").unlink(missing_ok=True)  # what was labelled in it is labelled again
    first = t.bench.under_way(target)
    toml = (target.root / "campaign.toml").read_bytes()
    t.add(fault, "injected", 4)
    t.refused(fault, target, "a second driver", socket.gethostname(), f"pid {first.pid}")
    if (target.root / "campaign.toml").read_bytes() != toml:
        t.fail(fault, "the refused driver wrote campaign.toml")
    first.kill()
    first.wait()
    second = t.bench.under_way(target)  # at once after the crash
    if second.poll() is not None:
        t.fail(fault, f"after a crash: status {second.returncode}: {target.log.read_text()[-800:]}")
    second.kill()
    second.wait()
    lock = target.root / "lock"
    lock.write_text(json.dumps({"host": "elsewhere", "pid": 1, "since": "yesterday"}))
    if t.refused(fault, target, "a lock of another host", str(lock), "elsewhere", "pid 1"):
        lock.unlink()
    other = os.getpid()  # as if that had been the pid of a dead driver, and of a dead worker
    lock.write_text(json.dumps({"host": socket.gethostname(), "pid": other, "since": "yesterday"}))
    for name in json.loads((t.bench.calm.root / "rounds/r000/labels.json").read_text())["accepted"]:
        stale = target.root / "work" / f"tmp-{name}-{socket.gethostname().replace('-', '_')}.1-{other}"
        stale.mkdir(parents=True, exist_ok=True)
    t.finish(fault, target, 3)


def write(t: Torture) -> None:
    """A stop before each kind of write, rename or removal that the undisturbed campaign was seen to do."""
    seen = list(dict.fromkeys(t.bench.calm.beside("seen").read_text().splitlines()))
    early = seen[: next(k for k, kind in enumerate(seen) if "models/" in kind)]
    kinds = early if t.short else seen
    chosen = t.rng.sample(kinds, 2) if t.short else kinds
    stops = t.bench.folder / "stops"
    stops.mkdir()
    for what in chosen:
        (stops / stop_name(what)).write_text(what)
    target = t.new("writes")
    number = 0
    while len(list(stops.iterdir())):
        number += 1
        before = len(list(stops.iterdir()))
        driver = t.bench.start(target, TORTURE_STOPS=str(stops))
        status = driver.wait(timeout=600)
        done = before - len(list(stops.iterdir()))
        t.share = 1 - (before - done) / len(chosen)
        t.add("write", "injected", done)
        if status == 0:
            break
        if status != -signal.SIGKILL and not done:
            t.fail("write", f"status {status}: {target.log.read_text()[-1500:]}")
            break
        if number % 10 == 0:
            t.tell("write", f"{len(chosen) - before + done} of {len(chosen)} kinds of writes")
    left = [path.read_text() for path in stops.iterdir()]
    t.notes["write"] = f"{len(chosen) - len(left)} of {len(seen)} kinds"
    if left and not t.short:
        t.notes["write"] += f"; not met again: {', '.join(left)}"
    t.finish("write", target, t.counts["write"]["injected"])


FAULTS: dict[str, Callable[[Torture], None]] = {
    "write": write,  # first: what is written only at the beginning is met where campaigns are shared
    "term": stopped("term", signal.SIGTERM, 3),
    "interrupt": stopped("interrupt", signal.SIGINT, 130),
    "drivers": drivers,
    "journal": journal,
    "truncated": truncated,
    "empty": zero,
    "flip": flipped,
    "disk": disk,
    "read-only": read_only,
    "clock": clock,
    "kill": kill,
}
COST = {"truncated": 1.0, "term": 1.5, "interrupt": 1.5, "disk": 3.0, "empty": 1.5, "flip": 4.0, "write": 8.0}
"""Of a fault in lengths of the undisturbed campaign, or near it: for the time left only."""
ROOM_KB = 64_000
COLUMNS = ("injected", "survived", "refused", "skipped", "failed", "lost", "recomputed")


def main() -> int:
    """Run, compare, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", default=",".join(FAULTS), help=f"some of {', '.join(FAULTS)}")
    parser.add_argument("--kills", type=int, help="how many SIGKILLs (default 200; 1 where short)")
    parser.add_argument("--seed", type=int, default=0, help="of the instants and places")
    parser.add_argument("--short", action="store_true", help="a bit of every kind")
    parser.add_argument("--folder", type=Path, default=Path("build/torture"), help="emptied first")
    given = parser.parse_args()
    names = given.faults.split(",")
    if unknown := [name for name in names if name not in FAULTS]:
        parser.error(f"unknown fault {unknown[0]!r}: legal are {', '.join(FAULTS)}")
    kills = given.kills if given.kills is not None else 1 if given.short else 200
    bench = Bench(given.folder.resolve(), 1 if given.short else 2)
    torture = Torture(bench, kills, given.seed, given.short)
    torture.planned = names
    calm = bench.run(bench.calm, TORTURE_SEEN=str(bench.calm.beside("seen")))
    if calm.status != 0:
        print(f"the undisturbed campaign failed:\n{calm.said}")
        return 1
    length = time.monotonic() - torture.began
    torture.tell("calm", f"the undisturbed campaign took {length:.1f} s")
    try:
        for name in names:
            torture.share = 0.0
            try:
                FAULTS[name](torture)
            except Exception as error:  # a fault that could not be put in is a failure of its own
                torture.fail(name, f"{type(error).__name__}: {error}")
        torture.settle()
    finally:
        torture.leave_disk()
    show(torture)
    seconds = round(time.monotonic() - torture.began, 1)
    counts = {name: {column: torture.counts.get(name, Counter())[column] for column in COLUMNS} for name in names}
    good = not torture.failures and all(c["injected"] or c["skipped"] for c in counts.values())
    print(
        json.dumps(
            {
                "ok": good,
                "seconds": seconds,
                "undisturbed_s": round(length, 1),
                "seed": given.seed,
                "labels": len(bench.calm.labels()),
                "faults": counts,
                "notes": torture.notes,
                "failures": torture.failures,
            }
        )
    )
    return 0 if good else 1


def show(t: Torture) -> None:
    """The counts as a table."""
    print(f"\n{'fault':12s}" + "".join(f"{column:>12s}" for column in COLUMNS))
    for name in t.planned:
        row = t.counts.get(name, Counter())
        note = t.notes.get(name, "")
        print(f"{name:12s}" + "".join(f"{row[column]:12d}" for column in COLUMNS) + (f"  {note}" if note else ""))


if __name__ == "__main__":
    sys.exit(main())
