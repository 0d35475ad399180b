"""What a study says in figures: curves, errors at each size, ratios to the baseline, times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tentpole.benchmarks.curves import Curve, Ratio
from tentpole.benchmarks.sampling.config import VERSION, SamplingConfig, study_from_json
from tentpole.benchmarks.sampling.paths import StudyPaths, read_versioned
from tentpole.benchmarks.sampling.sets import (
    MEASURES,
    WHOLE,
    SetErrors,
    groups_of,
    measured,
    resampled,
    set_errors_from,
)
from tentpole.errors import InputError
from tentpole.records import FloatArray

RESAMPLES = 1000
COMPARED = ("energy_mae", "energy_rmse", "force_mae", "force_rmse", "stress_mae")
"""What ratios are taken of."""
EVERY_SIZE = "all sizes"
Key = tuple[str, int, int]
"""Policy, draw, size."""


@dataclass(frozen=True)
class StudyResults:
    """What a study has come to so far.

    Parameters
    ----------
    config : SamplingConfig
        What was studied.
    errors : mapping
        By test set, then by policy, draw and size.
    times : mapping
        Seconds of each policy, draw and size, and what its training was ended by.
    conditions : mapping
        How many frames of each condition joined, by policy, draw and size.
    """

    config: SamplingConfig
    errors: Mapping[str, Mapping[Key, SetErrors]]
    times: Mapping[Key, Mapping[str, Any]]
    conditions: Mapping[Key, Mapping[str, int]]

    def draws_of(self, policy: str) -> list[int]:
        """The draws under which a policy has ended."""
        sizes = self.config.sizes
        return [d for d in self.config.draws if all((policy, d, n) in self.times for n in sizes)]

    def groups(self, name: str) -> list[str]:
        """Groups of a test set's frames: "all", and its structures where they are several."""
        return list(groups_of(next(iter(self.errors[name].values()))))

    def curves(self, name: str, measure: str, group: str = WHOLE) -> dict[str, Curve]:
        """A curve per policy: a measure on a test set, in eV, eV/Å or eV/Å³."""
        n = np.array(self.config.sizes, dtype=np.int64)
        curves = {}
        for policy in self.config.policies:
            draws = self.draws_of(policy)
            if draws:
                table = [[measured(self.errors[name][policy, d, int(k)], measure, group) for k in n] for d in draws]
                curves[policy] = Curve(policy, n, tuple(draws), np.array(table))
        return curves


def read_results(folder: Path) -> StudyResults:
    """The results of the study in `folder`. Raises InputError where no run has ended."""
    paths = StudyPaths(folder)
    content = read_versioned(paths.settings, VERSION)
    config = study_from_json(content).config
    errors: dict[str, dict[Key, SetErrors]] = {name: {} for name in config.tests}
    times: dict[Key, dict[str, Any]] = {}
    conditions: dict[Key, dict[str, int]] = {}
    for policy in config.policies:
        for draw in config.draws:
            for n in config.sizes:
                here, key = paths.run(policy, draw).size(n), (policy, draw, n)
                if not all(here.errors(name).is_file() for name in config.tests):
                    continue
                for name in config.tests:
                    errors[name][key] = set_errors_from(read_versioned(here.errors(name), VERSION))
                chosen = read_versioned(here.chosen, VERSION)
                done = read_versioned(here.done, VERSION)
                times[key] = {**done, **{k: chosen[k] for k in ("choosing_seconds", "labelling_seconds")}}
                conditions[key] = chosen["conditions"]
    found = StudyResults(config, errors, times, conditions)
    if not any(found.draws_of(policy) for policy in config.policies):
        raise InputError(f"{folder}: no policy has come to its last size. Give the same `tentpole sampling` again.")
    return found


def ratios(results: StudyResults, name: str, measure: str, group: str = WHOLE) -> list[Ratio]:
    """Each policy's error over the baseline's on a test set, at each size and over all, with bootstrap intervals.

    The geometric mean over the draws that both have. Draws and test frames are redrawn with replacement 1000 times,
    the frames alike for both, and the interval holds the middle 95 %: with one draw it counts the frames alone, and
    with two or three it is too narrow.
    """
    config = results.config
    base, found = config.baseline, []
    for policy in config.policies:
        draws = sorted(set(results.draws_of(policy)) & set(results.draws_of(base)))
        if policy == base or not draws:
            continue
        logs, samples = [], []
        for n in config.sizes:
            pair = [[results.errors[name][p, d, n] for d in draws] for p in (policy, base)]
            log, sample = _log_ratio(pair[0], pair[1], measure, group)
            found.append(_ratio(policy, f"N = {n}", log, sample, len(draws)))
            logs.append(log)
            samples.append(sample)
        if len(logs) > 1:
            whole = np.mean(samples, axis=0)
            found.append(_ratio(policy, EVERY_SIZE, float(np.mean(logs)), whole, len(draws)))
    return found


def _log_ratio(one: list[SetErrors], other: list[SetErrors], measure: str, group: str) -> tuple[float, FloatArray]:
    """The mean logarithm over draws, and RESAMPLES of it; the same numbers are drawn at every size."""
    rng = np.random.default_rng(0)
    places = np.array(groups_of(one[0])[group])
    frames = places[rng.integers(len(places), size=(RESAMPLES, len(places)))]
    picked = rng.integers(len(one), size=(RESAMPLES, len(one)))

    def logs(of: FloatArray | Any) -> FloatArray:
        with np.errstate(divide="ignore", invalid="ignore"):
            pairs = [
                np.log(resampled(a, measure, of) / resampled(b, measure, of)) for a, b in zip(one, other, strict=True)
            ]
        return np.array(pairs)

    sample = logs(frames)  # (draws, RESAMPLES)
    drawn = np.take_along_axis(sample, picked.T, axis=0).mean(axis=0)
    return float(logs(places).mean()), drawn


def _ratio(policy: str, what: str, log: float, sample: FloatArray, draws: int) -> Ratio:
    low, high = np.exp(np.percentile(sample, [2.5, 97.5])) if np.isfinite(sample).all() else (np.nan, np.nan)
    return Ratio(policy, what, float(np.exp(log)), float(low), float(high), draws)


def summarise(results: StudyResults) -> dict[str, Any]:
    """All that a study's figures say, JSON-able: None for what is not known. `results`: see `read_results`.

    baseline, sizes, draws : of the study. errors : by test set, group of its frames ("all", or a structure), policy
    and measure, means over draws at each size; eV, eV/Å, eV/Å³. ratios : to the baseline's, with intervals. times :
    by policy, seconds per draw. trainings : how many models, and how many of them ended at their limit of updates,
    before their errors had ceased to fall.
    """
    errors: dict[str, Any] = {}
    compared = []
    for name in results.config.tests:
        errors[name] = {group: _means(results, name, group) for group in results.groups(name)}
        for group in errors[name]:
            for measure in COMPARED:
                rows = [r.to_json() for r in ratios(results, name, measure, group)]
                compared += [{"set": name, "group": group, "measure": measure, **row} for row in rows]
    return {
        "version": VERSION,
        "baseline": results.config.baseline,
        "sizes": list(results.config.sizes),
        "draws": {policy: results.draws_of(policy) for policy in results.config.policies},
        "errors": errors,
        "ratios": compared,
        "times": {policy: times_of(results, policy) for policy in results.config.policies},
        "trainings": trainings_of(results),
    }


def trainings_of(results: StudyResults) -> dict[str, int]:
    """How many models were trained to a plateau, and how many ended at their limit before it."""
    ends = [end for done in results.times.values() for end in done["stopped"]]
    return {"models": len(ends), "at_their_limit": ends.count("limit") if results.config.plateau else 0}


def _means(results: StudyResults, name: str, group: str) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for measure in MEASURES:
        for policy, curve in results.curves(name, measure, group).items():
            values = [float(value) if np.isfinite(value) else None for value in curve.mean]
            table.setdefault(policy, {})[measure] = values
    return table


def times_of(results: StudyResults, policy: str) -> dict[str, float]:
    """Seconds per draw: of MD, of choosing, of labelling the training frames, of training, all sizes together."""
    keys = [key for key in results.times if key[0] == policy]
    draws = {draw for _, draw, _ in keys}
    if not draws:
        return {}
    told = {
        what: sum(float(results.times[key][f"{what}_seconds"]) for key in keys) / len(draws)
        for what in ("choosing", "labelling", "training")
    }
    by_draw = [[float(results.times[key]["md_seconds"]) for key in keys if key[1] == draw] for draw in draws]
    own = results.config.driver == "committee"  # else all sizes share one MD
    return {"md": sum(sum(one) if own else one[0] for one in by_draw) / len(draws), **told}
