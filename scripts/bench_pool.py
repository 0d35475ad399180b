#!/usr/bin/env python3
"""Time of a whole benchmark: six rules, 5 seeds, six rounds, 10,000 candidates; MLPRegressor in the same run.

The pool is made here: 12,500 ternary compositions, their descriptors, and a target that depends on them
smoothly with noise. Both models run the same protocol with the same rules, splits and number of processes. The six
rules are the study's four, logdet and adaptive. Ours take 100 full-batch steps; the regressor has scikit-learn's
defaults, of which full batches are one below 200 rows, and its own rule stops it after about 100 steps here.
Prints a table, and a JSON line at the end. Give --pool FILE to time a pool of your own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import threading
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from tentpole.benchmarks.pool import Pool, Settings, models, read, run
from tentpole.benchmarks.pool.composition import ELECTRONEGATIVITY, fractions
from tentpole.benchmarks.pool.statistics import bootstrap_intervals, paired_t
from tentpole.benchmarks.pool.table import build

RULES = ("random", "uncertainty", "diversity", "hybrid", "logdet", "adaptive")


@dataclass(frozen=True)
class ScikitLearn:
    """Five MLPRegressors of the same shape, scikit-learn's defaults otherwise, fitted one after another."""

    members: int = 5

    def fit(self, inputs, targets, seed):
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPRegressor

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # 200 iterations, as a user gets them
            return Several(
                [
                    MLPRegressor(hidden_layer_sizes=(128, 128), random_state=seed * 10 + m).fit(inputs, targets)
                    for m in range(self.members)
                ]
            )


@dataclass(frozen=True)
class Several:
    members: list

    def predict(self, inputs):
        each = np.stack([member.predict(inputs) for member in self.members])
        return each.mean(axis=0), each.std(axis=0)


models.MODELS["mlp-regressor"] = ScikitLearn


def made_up_pool(rows: int, seed: int = 0) -> Pool:
    """Ternaries with a gap, a density, a volume, and a target of ionic, size and d-band parts and noise."""
    rng = np.random.default_rng(seed)
    symbols = [e for e in ELECTRONEGATIVITY if e not in ("Kr", "Xe", "Rn")][:80]
    formulas = [
        "".join(f"{e}{n}" for e, n in zip(rng.choice(symbols, 3, replace=False), rng.integers(1, 5, 3), strict=True))
        for _ in range(rows)
    ]
    mean, spread = np.empty(rows), np.empty(rows)
    for i, formula in enumerate(formulas):
        parts = fractions(formula)
        x, chi = np.array(list(parts.values())), np.array([ELECTRONEGATIVITY[e] for e in parts])
        mean[i] = x @ chi
        spread[i] = np.sqrt(x @ (chi - mean[i]) ** 2)
    volume = 12 + 20 * rng.gamma(3, 0.2, rows) + 6 * spread
    gap = np.maximum(0, 4 * spread - 1.5 + 0.4 * rng.normal(size=rows))
    target = 0.5 - 2.6 * spread**1.5 + 0.6 * np.sin(3 * mean) - 0.02 * (volume - 20) + 0.15 * rng.normal(size=rows)
    return build(
        {
            "formula": formulas,
            "formation_energy_per_atom": target,
            "band_gap": gap,
            "volume_per_atom": volume,
            "density": 150 / volume + rng.normal(size=rows),
        }
    )


class Watch:
    """Largest memory of this process and all below it, and the CPU seconds they used, looked at 20 times a second."""

    def __init__(self) -> None:
        self.peak, self._cpu, self._ended = 0.0, {}, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        own = psutil.Process()
        while not self._ended.wait(0.05):
            total = 0.0
            for process in (own, *own.children(recursive=True)):
                try:
                    times = process.cpu_times()
                    self._cpu[process.pid] = times.user + times.system
                    total += process.memory_info().rss  # what forked processes share counts for each: an upper bound
                except psutil.NoSuchProcess:
                    continue
            self.peak = max(self.peak, total)

    def __enter__(self) -> Watch:
        self._thread.start()
        self._ended.wait(0.1)
        self._before = self.cpu
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.wait(0.1)
        self.used = self.cpu - self._before
        self._ended.set()
        self._thread.join()

    @property
    def cpu(self) -> float:
        return sum(self._cpu.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", type=Path)
    parser.add_argument("--rows", type=int, default=12_530, help="2,506 to test on, 30 first labels: 9,994 left")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5, help="of each, in turn; medians are given")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--skip-sklearn", action="store_true")
    given = parser.parse_args()
    pool = read(given.pool) if given.pool else made_up_pool(given.rows)
    before = round(os.getloadavg()[0], 2)  # of other work; above 0.5 the seconds are not this program's alone
    names = ("networks",) if given.skip_sklearn else ("networks", "mlp-regressor")
    found: dict[str, dict] = {name: {"seconds": [], "cpu": [], "peak": []} for name in names}
    settings = {name: Settings("bench", model=name, rules=RULES) for name in names}
    for repeat in range(given.repeats):
        for name in names:
            with tempfile.TemporaryDirectory() as folder, Watch() as watch:
                began = time.perf_counter()
                results = run(pool, settings[name], Path(folder), range(given.seeds), workers=given.workers)
                seconds = time.perf_counter() - began
            for what, value in (("seconds", seconds), ("cpu", watch.used), ("peak", watch.peak / 2**30)):
                found[name][what].append(value)
            found[name]["mae"] = {rule: values[:, -1] for rule, values in results.curves("mae").items()}
            print(f"{repeat + 1}/{given.repeats} {name:15s} {seconds:7.1f} s, {watch.used:7.1f} s of CPU", flush=True)
    for name in names:
        found[name] |= {what: statistics.median(found[name][what]) for what in ("seconds", "cpu", "peak")}
        finals = ", ".join(f"{rule} {values.mean():.4f}" for rule, values in found[name]["mae"].items())
        print(f"{name:15s} {found[name]['seconds']:7.1f} s   final MAE: {finals}")
    line = {
        "rows": len(pool),
        "candidates": results.about["rows"] - round(0.2 * results.about["rows"]) - 30,
        "rules": len(RULES),
        "seeds": given.seeds,
        "rounds": next(iter(results.curves("mae").values())).shape[1],
        "workers": given.workers,
        "repeats": given.repeats,
        "seconds": round(found["networks"]["seconds"], 2),
        "cpu_seconds": round(found["networks"]["cpu"], 2),
        "load_before": before,
        "peak_memory_GiB": round(found["networks"]["peak"], 3),
    }
    if "mlp-regressor" in found:
        ours, theirs = (np.concatenate(list(found[m]["mae"].values())) for m in ("networks", "mlp-regressor"))
        difference = ours - theirs
        low, high = bootstrap_intervals(difference, 5000)[0]
        line |= {
            "sklearn_seconds": round(found["mlp-regressor"]["seconds"], 2),
            "sklearn_cpu_seconds": round(found["mlp-regressor"]["cpu"], 2),
            "times_faster": round(found["mlp-regressor"]["seconds"] / found["networks"]["seconds"], 2),
            "mae": round(float(ours.mean()), 4),
            "sklearn_mae": round(float(theirs.mean()), 4),
            "mae_difference_95": [round(low, 4), round(high, 4)],
            "p_paired": paired_t(ours, theirs),
        }
    print(json.dumps(line))


if __name__ == "__main__":
    import bench_pool  # by its name: worker processes find the peer's classes there

    bench_pool.main()
