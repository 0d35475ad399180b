"""What a study says in figures: each rule at its end, ratios to random, where each run could have stopped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tentpole.benchmarks.qbc.curves import compare, histories, learning_curves, stop_suggestion

AT_THE_END = ("force_rmse", "force_p95", "energy_rmse_per_atom", "spearman_atoms", "spearman_structures", "coverage")
COMPARED = ("force_rmse", "force_p95")


def summarise(folder: Path, baseline: str = "random") -> dict[str, Any]:
    """All that a study's figures say, JSON-able.

    rules : by name, means over seeds at the last size that all seeds have reached (see `measures.measure`; eV, Å), the
    lowest spread_ratio of any round, and training_seconds per round. ratios : of force_rmse and force_p95 to the
    baseline's, with intervals, where the baseline was run. stop : by rule and seed, the size at which σ of the
    selected had come down to σ of the remaining, or None. Raises InputError where no round has ended.
    """
    study = histories(folder)
    rules: dict[str, Any] = {}
    stop: dict[str, dict[str, int | None]] = {}
    for name, curve in learning_curves(folder).items():
        runs = {seed: content for (rule, seed), content in study.items() if rule == name}
        n = int(curve.n[-1])
        last = [next(r for r in content if r["n"] == n) for content in runs.values()]
        every = [r for content in runs.values() for r in content]
        rules[name] = {"n": n, "seeds": len(runs), **{key: _mean([r[key] for r in last]) for key in AT_THE_END}}
        rules[name]["spread_ratio"] = min(r["spread_ratio"] for r in every)
        rules[name]["alike"] = sum(r["alike"] for r in every)
        rules[name]["training_seconds"] = _mean([r["training_seconds"] for r in every if r["round"]])
        stop[name] = {str(seed): stop_suggestion(content) for seed, content in runs.items()}
    ratios = []
    for measure in COMPARED if baseline in rules else ():
        ratios += [{"measure": measure, **r.to_json()} for r in compare(learning_curves(folder, measure), baseline)]
    return {"rules": rules, "ratios": ratios, "baseline": baseline, "stop": stop}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
