"""Learning curves of a study: over the sizes its seeds have reached, ratios to a baseline, and when to stop."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student

from tentpole.benchmarks.curves import Curve, Ratio
from tentpole.benchmarks.qbc.study import rounds
from tentpole.errors import InputError
from tentpole.records import FloatArray
from tentpole.storage.atomic import read_json


def histories(folder: Path) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """All finished rounds of a study by rule and seed."""
    rows_of: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for place in sorted((folder / "runs").glob("*")):
        content = [read_json(path) for path in rounds(place)]
        if content:
            rows_of[content[0]["rule"], content[0]["seed"]] = content
    if not rows_of:
        raise InputError(f"no finished round under {folder}")
    return rows_of


def learning_curves(folder: Path, measure: str = "force_rmse") -> dict[str, Curve]:
    """A curve per rule, over the sizes that all of its seeds have reached."""
    study = histories(folder)
    curves: dict[str, Curve] = {}
    for name in dict.fromkeys(rule for rule, _ in study):
        runs = {seed: {r["n"]: r[measure] for r in content} for (rule, seed), content in study.items() if rule == name}
        n = sorted(set.intersection(*(set(values) for values in runs.values())))
        seeds = tuple(sorted(runs))
        curves[name] = Curve(
            name, np.array(n, dtype=np.int64), seeds, np.array([[runs[s][k] for k in n] for s in seeds])
        )
    return curves


def compare(curves: dict[str, Curve], baseline: str = "random") -> list[Ratio]:
    """Area and last common point of each rule over the baseline's, over common sizes and seeds.

    Intervals are paired by seed, by Student's t on the logarithms; NaN bounds where there is one seed only.
    """
    if baseline not in curves:
        raise InputError(f'no run of the baseline "{baseline}": there are {", ".join(sorted(curves))}')
    base, ratios = curves[baseline], []
    for name, curve in curves.items():
        seeds = sorted(set(curve.seeds) & set(base.seeds))
        n = sorted(set(curve.n.tolist()) & set(base.n.tolist()))
        if name == baseline or not seeds or not n:
            continue
        one, other = (_part(c, seeds, n) for c in (curve, base))
        ratios.append(_ratio(name, "area", one.areas, other.areas))
        ratios.append(_ratio(name, f"N = {n[-1]}", one.values[:, -1], other.values[:, -1]))
    return ratios


def stop_suggestion(content: Sequence[dict[str, Any]], *, margin: float = 1.25, in_a_row: int = 2) -> int | None:
    """The training-set size at which σ of what was selected has stayed within `margin` of σ of what remains.

    For `in_a_row` rounds: nothing left in the pool stands out then. None where that has not happened; for a rule
    that does not look at σ it says little.
    """
    streak = 0
    for result in content:
        chosen, left = result["sigma_selected"], result["sigma_remaining"]
        near = chosen is not None and left is not None and chosen <= margin * left
        streak = streak + 1 if near else 0
        if streak == in_a_row:
            return int(result["n"])
    return None


def _part(curve: Curve, seeds: Sequence[int], n: Sequence[int]) -> Curve:
    rows, columns = [curve.seeds.index(s) for s in seeds], [curve.n.tolist().index(k) for k in n]
    return Curve(curve.rule, np.array(n), tuple(seeds), curve.values[np.ix_(rows, columns)])


def _ratio(rule: str, what: str, one: FloatArray, other: FloatArray) -> Ratio:
    logs = np.log(one / other)
    centre, count = float(logs.mean()), len(logs)
    half = float(student.ppf(0.975, count - 1) * logs.std(ddof=1) / np.sqrt(count)) if count > 1 else np.nan
    return Ratio(rule, what, float(np.exp(centre)), float(np.exp(centre - half)), float(np.exp(centre + half)), count)
