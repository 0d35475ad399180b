"""What opening, asking, telling and status cost as a campaign grows: made-up folders with labels and errors, no MD.

"first" is status of a folder whose cache is gone: the price of reading all once. The others find what drivers leave.

    python scripts/bench_scale.py [--labels 1000 10000 100000] [--per-round 100] [--journal 1000000] [--keep FOLDER]

Each figure is taken in a process of its own, so that its peak memory is its own. The exponent is the slope of log(time)
over log(labels) between the smallest and the largest folder: 0 is constant, 1 linear. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.io import write

from tentpole.campaign import Campaign, CampaignRecord, Request
from tentpole.campaign.batches import Method, write_batch
from tentpole.campaign.facts import BatchFacts, ErrorFacts, FrameError, LimitFacts, RoundEnd, RoundOutcome, Spread
from tentpole.campaign.folder import settings_to_record, settle
from tentpole.campaign.journal_summary import keep_summary
from tentpole.campaign.paths import CampaignPaths
from tentpole.campaign.state import RoundState
from tentpole.committee.prediction_limit import PredictionLimit
from tentpole.config.loading import resolve
from tentpole.labeling import references
from tentpole.records import Condition
from tentpole.storage import journal
from tentpole.storage.atomic import write_json
from tentpole.storage.journal import Journal
from tentpole.storage.labels import label_files, read_label, write_label


def make(home: Path, labels: int, per_round: int) -> Path:
    """A campaign of `labels` labels in closed rounds, and one round that waits for its labels."""
    home.mkdir(parents=True)
    write(home / "cu.xyz", bulk("Cu", cubic=True), format="extxyz")
    content = {
        "name": "scale",
        "reference": "mock",
        "structures": [{"file": "cu.xyz"}],
        "stop": {"rounds": 10 * labels // per_round + 10},
        "validation": {"kind": "none"},
    }
    os.fsync = lambda descriptor: None  # a made-up folder need not survive a power cut
    paths = CampaignPaths(home / "folder")
    config = settle(resolve(content, home / "campaign.toml"), paths)
    method = Method(references.load("mock", ["Cu"]).hash)
    rng = np.random.default_rng(0)
    rounds = max(1, labels // per_round)
    state = RoundState(paths, method, False, summarises=True)
    with Journal(paths.journal) as log:
        log.append("opened", version=1, driver=1)
        log.append("settings", settings=settings_to_record(config, paths.root))
        for number in range(rounds + 1):
            requests = [_request(number, k, method, rng) for k in range(per_round)]
            write_batch(paths, number, requests, _facts(per_round, rng) if number else BatchFacts())
            if number == rounds:
                break
            for request in requests:
                label = request.label(float(rng.normal()), rng.normal(size=(4, 3)), seconds=1.0, core_s=1.0)
                write_label(paths.root, label)
                log.append("label", echo=True, name=label.name, seconds=1.0, core_s=1.0)
            names = tuple(request.name for request in requests)
            outcome = RoundOutcome(names, (), _errors(names, rng) if number else None)
            write_json(paths.outcome(number), outcome.to_json())
            write_json(paths.end(number), RoundEnd(limit=LimitFacts(LIMIT, 0.02)).to_json())
            for phase in ("md", "scoring", "labelling", "training"):
                log.append("phase", phase=phase, round=number, seconds=1.0)
            log.append("round done", round=number)
            state.record(number)
            if number % 50 == 0:
                keep_summary(paths)
    keep_summary(paths, always=True)
    return paths.root


CONDITIONS = [Condition("cu", temperature) for temperature in (300.0, 600.0, 900.0, 1200.0)]
LIMIT = PredictionLimit(2.0, 0.05, 100, 80.0, "log-normal")
PAIRS = 1200  # of a parity plot: 100 frames of four atoms


def _request(number: int, k: int, method: Method, rng: np.random.Generator) -> Request:
    if not number:
        return Request(f"r000-{k:04d}", _rattled(rng), method.reference, None, None)
    scores = {
        name: float(rng.uniform()) for name in ("force_std", "energy_std", "max_force_std", "p95_force_std", "gain")
    }
    return Request(
        f"r{number:03d}-w{k % 4:02d}-{k:06d}",
        _rattled(rng),
        method.reference,
        None,
        None,
        CONDITIONS[k % 4],
        audit=k % 5 == 0,
        reason="σ_F above the threshold",
        scores=scores,
    )


def _facts(per_round: int, rng: np.random.Generator) -> BatchFacts:
    """How a batch came about, as an exploration by four walkers leaves it."""
    spread = Spread.of(rng.uniform(size=100).tolist())
    return BatchFacts(
        candidates=400,
        chosen=per_round,
        by_condition={str(condition): per_round // 4 for condition in CONDITIONS},
        force_std_chosen=spread,
        force_std_remaining=spread,
        gain_chosen=spread,
        gain_remaining=spread,
        intervals=400,
        bias_strength_eV={f"w{k:02d}": 0.1 for k in range(4)},
        first_key="σ_F above the threshold",
        audits=per_round // 5,
        wanted=per_round,
    )


def _errors(names: tuple[str, ...], rng: np.random.Generator) -> ErrorFacts:
    """Errors of every frame, with the pairs of its parity plot."""
    rows = rng.uniform(0.01, 0.02, size=(len(names), 7)).tolist()
    frames = {name: FrameError(*row) for name, row in zip(names, rows, strict=True)}
    return ErrorFacts(0.015, 0.002, frames, {"Cu": 0.015}, "", rng.normal(size=(PAIRS, 2)))


def _rattled(rng: np.random.Generator) -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
    return atoms


def long_journal(path: Path, lines: int) -> None:
    """A journal of so many label events."""
    os.fsync = lambda descriptor: None
    with Journal(path) as log:
        for k in range(lines):
            log.append("label", echo=True, name=f"{k:032x}-{k:016x}", seconds=1.0, core_s=1.0)


def opening(root: Path) -> float:
    """Seconds to open the folder and ask what waits."""
    began = time.perf_counter()
    with Campaign(root) as campaign:
        assert campaign.ask()
        return time.perf_counter() - began


def first(root: Path) -> float:
    """Seconds of `status` where nothing of the past is summed: folders of older versions, or a deleted cache."""
    cache, aside = root / "cache", root / "cache.aside"
    cache.rename(aside)
    try:
        return status(root)
    finally:
        aside.rename(cache)


def telling(root: Path) -> float:
    """Seconds for one label told, the median of eleven."""
    with Campaign(root) as campaign:
        asked, seconds = campaign.ask(), []
        for request in asked[:11]:
            label = request.label(0.0, np.zeros((4, 3)))
            began = time.perf_counter()
            campaign.tell([label])
            seconds.append(time.perf_counter() - began)
        return float(np.median(seconds))


def status(root: Path) -> float:
    """Seconds of what `tentpole status` reads and works out, printing apart."""
    began = time.perf_counter()
    record = CampaignRecord.read(root)
    record.to_json()
    assert record.tests
    assert record.projection is None or record.projection.words
    return time.perf_counter() - began


def command(root: Path) -> float:
    """Seconds of `tentpole status` as it is typed, Python's start included."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "tentpole", "status", str(root)], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def labels(root: Path) -> float:
    """Seconds to read and check every label once."""
    began = time.perf_counter()
    for path in label_files(root):
        read_label(path)
    return time.perf_counter() - began


def reading(path: Path) -> float:
    """Seconds to read a journal, line by line."""
    began = time.perf_counter()
    for _ in journal.events(path):
        pass
    return time.perf_counter() - began


MEASURES: dict[str, Callable[[Path], float]] = {
    "open": opening,
    "tell": telling,
    "status": status,
    "first": first,
    "command": command,
    "labels": labels,
    "journal": reading,
}


TIMED = ("open", "tell", "status", "first", "command", "labels")


def measured(name: str, place: Path) -> dict[str, float]:
    """Seconds, CPU seconds and peak memory of one measure in a process of its own."""
    command = [sys.executable, __file__, "--measure", name, str(place)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(f"{name} of {place} failed:\n{ended.stderr}")
    return dict(json.loads(ended.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--per-round", type=int, default=100)
    parser.add_argument("--journal", type=int, default=1_000_000, help="lines of one long journal; 0: none")
    parser.add_argument("--keep", type=Path, help="make the folders here, and leave them")
    parser.add_argument("--measure", nargs=2, metavar=("WHAT", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        name, place = given.measure
        before = time.process_time()
        seconds = MEASURES[name](Path(place))
        cpu_s = time.process_time() - before  # of the whole measure: tells a busy machine from slow code
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(json.dumps({"seconds": seconds, "cpu_s": cpu_s, "peak_GB": peak}))
        return
    place = given.keep or Path(tempfile.mkdtemp(prefix="tentpole-scale-"))
    try:
        print(json.dumps(table(place, given.labels, given.per_round, given.journal)))
    finally:
        if given.keep is None:
            shutil.rmtree(place)


def table(place: Path, sizes: list[int], per_round: int, lines: int) -> dict[str, Any]:
    """Measure all, print as it comes, and give the figures."""
    found: dict[str, dict[str, dict[str, float]]] = {name: {} for name in MEASURES}
    print(f"{'labels':>9} {'rounds':>7} " + " ".join(f"{name + ', s':>11} {'GB':>5}" for name in TIMED))
    for size in sizes:
        root = place / str(size) / "folder"
        if not root.exists():
            make(root.parent, size, per_round)
        for name in TIMED:
            found[name][str(size)] = measured(name, root)
        cells = [found[name][str(size)] for name in TIMED]
        figures = " ".join(f"{cell['seconds']:11.4f} {cell['peak_GB']:5.2f}" for cell in cells)
        print(f"{size:9d} {max(1, size // per_round):7d} {figures}", flush=True)
    if lines:
        path = place / "journal.jsonl"
        if not path.exists():
            long_journal(path, lines)
        found["journal"][str(lines)] = measured("journal", path)
        cell = found["journal"][str(lines)]
        print(f"a journal of {lines} lines: {cell['seconds']:.2f} s, {cell['peak_GB']:.2f} GB")
    exponents = {name: exponent(found[name], sizes) for name in TIMED}
    print("exponents: " + ", ".join(f"{name} {value:.2f}" for name, value in exponents.items()))
    return {"measures": found, "exponents": exponents, "per_round": per_round}


def exponent(cells: dict[str, dict[str, float]], sizes: list[int]) -> float:
    """Slope of log(seconds) over log(labels) from the smallest folder to the largest."""
    first, last = min(sizes), max(sizes)
    if first == last:
        return math.nan
    ratio = cells[str(last)]["seconds"] / cells[str(first)]["seconds"]
    return math.log(ratio) / math.log(last / first)


if __name__ == "__main__":
    main()
