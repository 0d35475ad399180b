#!/usr/bin/env python
"""Time gains and greedy choice: 100,000 candidates of 50 components, 500 of them chosen by each method.

The candidates stand for mean fingerprints of an MD pool: 20 conditions of different centre and width, variances
falling by decades along 50 directions. Gains of all against a dataset of 200; then each greedy method with its
time and the log-det it reached, random choice and k-means beside it. A per-atom line times blocks of rows.

    python scripts/bench_selection.py [--candidates 100000] [--choose 500] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from tentpole.entropy import Covariance, even_quota, greedy
from tentpole.selection import Candidates, Labelled, make_rule


def pool(n: int, d: int, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """n rows (n, d) and their conditions; a tenth of the conditions is wide, as hot walkers are."""
    rng = np.random.default_rng(seed)
    scale = 10.0 ** np.linspace(0, -3, d)
    condition = rng.integers(0, 20, n)
    width = np.where(np.arange(20) < 2, 1.0, 0.3)[condition]
    centre = rng.normal(size=(20, d))[condition]
    rows = (centre + width[:, None] * rng.normal(size=(n, d))) * scale
    return rows, [f"condition {c}" for c in condition]


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    value = work()
    return value, time.perf_counter() - began


def reached(covariance: Covariance, rows: np.ndarray, chosen: list[int]) -> float:
    grown = covariance.copy()
    for i in chosen:
        grown.add(rows[i])
    return grown.logdet()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=50)
    parser.add_argument("--choose", type=int, default=500)
    parser.add_argument("--exact", action="store_true", help="the exact method on all candidates: a minute or more")
    parser.add_argument("--out", default="")
    given = parser.parse_args()
    threadpool_limits(1, user_api="blas")
    n, k = given.candidates, given.choose
    rows, conditions = pool(n, given.size)
    known, _ = pool(200, given.size, seed=1)
    covariance = Covariance("per-config", eps=1e-4)
    for row in known:
        covariance.add(row)
    greedy(covariance, rows[:100], 5, method="cholesky")  # compiled code is at hand from here on

    gains = [timed(lambda: covariance.gains(rows))[1] for _ in range(7)]
    atoms = Covariance("per-atom", eps=1e-4)
    rng = np.random.default_rng(2)
    blocks = [rows[i] + 0.1 * rows[i] * rng.normal(size=(16, given.size)) for i in range(min(n, 2000))]
    for block in blocks[:100]:
        atoms.add(block)
    per_atom = min(timed(lambda: atoms.gains(blocks))[1] for _ in range(3)) / len(blocks)

    table: list[dict[str, Any]] = []

    def note(name: str, chosen: list[int], seconds: float, among: int) -> None:
        value = reached(covariance, rows, chosen)
        share = max(np.unique([conditions[i] for i in chosen], return_counts=True)[1]) / len(chosen)
        table.append({"choice": name, "candidates": among, "chosen": len(chosen), "seconds": seconds,
                      "logdet": value, "largest_share_of_a_condition": float(share)})  # fmt: skip

    cap = even_quota(conditions, k)
    for name, options in (
        ("cholesky", {"method": "cholesky"}),
        ("cholesky, quota per condition", {"method": "cholesky", "groups": conditions, "quotas": cap}),
        ("information, lazy", {"method": "information"}),
        ("information, lazy, quota", {"method": "information", "groups": conditions, "quotas": cap}),
    ):
        chosen, seconds = timed(lambda o=options: greedy(covariance, rows, k, **o))
        note(name, [i for i, _ in chosen], seconds, n)
    some = n if given.exact else min(n, 10_000)
    chosen, seconds = timed(lambda: greedy(covariance, rows[:some], k, method="exact"))
    note("exact", [i for i, _ in chosen], seconds, some)
    chosen, seconds = timed(lambda: greedy(covariance, rows[:some], k, method="cholesky"))
    note("cholesky, same candidates", [i for i, _ in chosen], seconds, some)
    candidates = Candidates([str(i) for i in range(n)], np.ones(n), rows, conditions)
    for name in ("random", "diversity"):
        chooser = make_rule(name)
        picks, seconds = timed(lambda c=chooser: c.select(candidates, Labelled(known), k, np.random.default_rng(3)))
        note("k-means (mini-batch)" if name == "diversity" else name, [p.index for p in picks], seconds, n)

    result = {
        "candidates": n, "components": given.size, "load_average": os.getloadavg()[0],
        "gains_of_all_s": float(np.median(gains)), "gain_of_a_block_of_16_rows_us": 1e6 * per_atom,
        "logdet_before": covariance.logdet(), "effective_rank": covariance.effective_rank(), "choices": table,
    }  # fmt: skip
    print(f"gains of {n} candidates of {given.size} components: {result['gains_of_all_s']:.3f} s (median of 7)")
    print(f"gain of one block of 16 rows: {result['gain_of_a_block_of_16_rows_us']:.1f} µs")
    print(f"\n{'choice':<32}{'of':>8}{'chosen':>8}{'s':>9}{'ln det':>10}  largest share of one condition")
    for row in table:
        print(f"{row['choice']:<32}{row['candidates']:>8}{row['chosen']:>8}{row['seconds']:9.3f}"
              f"{row['logdet']:10.2f}  {100 * row['largest_share_of_a_condition']:.0f} %")  # fmt: skip
    print(f"before: ln det {result['logdet_before']:.2f}, effective rank {result['effective_rank']}")
    print(json.dumps(result))
    if given.out:
        with Path(given.out).open("w") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
