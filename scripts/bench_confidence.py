#!/usr/bin/env python
"""How often the bounds and limits that verdicts rest on hold, on simulated audits whose true error is known.

Squared errors are log-normal within a condition, with s² the variance of their logarithm (skew 0.7 at 0.05, 1.8 at
0.26, 3.3 at 0.57, 6.2 at 1), walkers sharing a part of it; other laws beside it. Tables: coverage of a single look;
false passes when one looks every round; audit frames until a bound passes; chance that a final look passes.

    python scripts/bench_confidence.py [--draws 2000] [--table coverage|looks|frames|power|real|limits|all]

The last line is JSON: each table's rows as printed, and of the coverage table each bound's mean coverage and its median
over that of Student's t.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from ase.io import read
from scipy.special import gdtrix, ndtr, stdtrit

from tentpole.campaign.confidence import Look, final_bound, interim_bound, joined, rmse_bound, window
from tentpole.committee.prediction_limit import fit_prediction_limit

Array = np.ndarray
Rows = dict[str, list[str]]
"""The cells of a table by what stands before them."""
DATA = "../shared/data/zundel/committee_md"


def normals(rng: np.random.Generator, walkers: int, frames: int, shared: float) -> Array:
    """(walkers, frames) standard normal values; those of a walker correlate with `shared`."""
    own = rng.standard_normal((walkers, frames))
    return math.sqrt(1 - shared) * own + math.sqrt(shared) * rng.standard_normal((walkers, 1))


def squares(e: Array, law: str, s2: float, rng: np.random.Generator) -> Array:
    """Squared errors of mean 1 made of standard normal values."""
    if law == "log-normal":
        return np.exp(math.sqrt(s2) * e - s2 / 2)
    if law == "gamma":
        return gdtrix(1.0, 1 / s2, ndtr(e)) * s2
    if law == "normal":  # the square of one normal number: an error of the energy
        return e**2
    outlier = np.where(rng.random(e.shape) < 0.05, 10.0, 1.0)  # one frame of twenty errs by 10^(1/2) times as much
    return np.exp(math.sqrt(s2) * e - s2 / 2) * outlier / 1.45


def drawn(
    rng: np.random.Generator, law: str, s2: float, shared: float, walkers: int, frames: int, levels: Array
) -> Look:
    """Audit frames of `walkers` trajectories, `frames` each, dealt to conditions whose mean squares are `levels`."""
    x = squares(normals(rng, walkers, frames, shared), law, s2, rng)
    condition = np.arange(walkers) % len(levels)
    x = x * levels[condition][:, None] / levels.mean()
    names = [(f"c{c}", f"w{w}") for w, c in enumerate(condition) for _ in range(frames)]
    return Look(x.ravel(), tuple(c for c, _ in names), tuple(w for _, w in names))


def student(look: Look, alpha: float) -> float:
    """The bound of earlier versions: Student's t on the squared errors."""
    n, x = len(look), look.squares
    return math.sqrt(max(0.0, float(x.mean() + stdtrit(n - 1, 1 - alpha) * x.std(ddof=1) / math.sqrt(n))))


def cox(look: Look, alpha: float) -> float:
    """Cox's bound on the mean of log-normal values."""
    y, n = np.log(look.squares), len(look)
    s2 = float(y.var(ddof=1))
    t = stdtrit(n - 1, 1 - alpha)
    return math.exp(float(y.mean() + s2 / 2 + t * math.sqrt(s2 / n + s2**2 / (2 * (n - 1)))) / 2)


def ours(look: Look, alpha: float) -> float:
    return float(rmse_bound(look, alpha).upper or math.inf)


def shown(label: str, cells: Sequence[str], rows: Rows, between: str = " | ") -> None:
    """Print a row and keep it."""
    rows[label] = list(cells)
    print(label + "   " + between.join(cells), flush=True)


BOUNDS: dict[str, Callable[[Look, float], float]] = {"Student": student, "Cox": cox, "rmse_bound": ours}


def coverage(draws: int) -> Rows:
    rows: Rows = {}
    print("Coverage of one look at 95 % | median of bound over true RMSE")
    print(f"{'law':10} {'s²':>5} {'shared':>6} {'walkers x frames':>16} {'levels':>8}   " + "   ".join(BOUNDS))
    one, three = np.ones(1), np.array([1.0, 2.0, 4.0])
    shapes = [(6, 1), (10, 1), (20, 1), (10, 2), (5, 4), (8, 5), (4, 10)]
    laws = [("log-normal", s2) for s2 in (0.05, 0.26, 0.57, 1.0)] + [
        ("gamma", 0.5),
        ("normal", 2.0),
        ("outliers", 0.26),
    ]
    cases = [
        (law, s2, sh, w, f, one) for w, f in shapes for law, s2 in laws for sh in ((0.0,) if f == 1 else (0, 0.2, 0.5))
    ]
    cases += [
        ("log-normal", s2, 0.2, w, f, three) for w, f in ((6, 1), (21, 1), (9, 3), (12, 2)) for s2 in (0.26, 0.57)
    ]
    for law, s2, shared, walkers, frames, levels in cases:
        rng = np.random.default_rng(1)
        looks = [drawn(rng, law, s2, shared, walkers, frames, levels) for _ in range(draws)]
        row = []
        for bound in BOUNDS.values():
            values = np.array([bound(look, 0.05) for look in looks])
            row.append(f"{(values >= 1).mean():.3f} | {np.median(values):.2f}")
        shape = f"{walkers} x {frames}"
        shown(f"{law:10} {s2:5} {shared:6} {shape:>16} {len(levels):8}", row, rows, "   ")
    return rows


def passes(rounds: list[Look], kind: str, target: float) -> bool:
    """Whether the bound after the last of `rounds` is within `target`."""
    if kind == "Student, sliding 12":
        return student(joined(rounds[-window([len(r) for r in rounds], 12) :]), 0.05) <= target
    needed = int(kind.split()[-1])
    return bool(interim_bound(rounds, needed=needed).within(target))


KINDS = ("Student, sliding 12", "interim_bound 6", "interim_bound 20", "interim_bound 40")


def first_pass(rng: np.random.Generator, s2: float, ratio: float, kind: str, most: int, levels: Array) -> int:
    """The look (6 audit frames each, 3 walkers) at which a bound passes an RMSE of `ratio` x target; most + 1: none."""
    rounds: list[Look] = []
    for number in range(1, most + 1):
        one = drawn(rng, "log-normal", s2, 0.2, 6, 1, levels)
        rounds.append(Look(one.squares, one.conditions, tuple(f"{number}{w}" for w in one.walkers)))
        if passes(rounds, kind, 1 / ratio):
            return number
    return most + 1


def looks(draws: int) -> Rows:
    rows: Rows = {}
    print("False passes within 1, 5, 15 looks of 6 audit frames, true RMSE at 1, 1.1, 1.25 x target")
    for levels in (np.ones(1), np.array([1.0, 2.0, 4.0])):
        for s2 in (0.26, 0.57, 1.0):
            for kind in KINDS:
                cells = []
                for ratio in (1.0, 1.1, 1.25):
                    rng = np.random.default_rng(2)
                    at = np.array([first_pass(rng, s2, ratio, kind, 15, levels) for _ in range(draws)])
                    cells.append(" ".join(f"{(at <= k).mean():.3f}" for k in (1, 5, 15)))
                shown(f"{len(levels)} conditions, s² {s2:4}  {kind:20}", cells, rows)
    return rows


def frames(draws: int) -> Rows:
    rows: Rows = {}
    print(
        "Median audit frames until the bound passes, 6 a look, true RMSE at 0.9, 0.8, 0.67, 0.5 x target (> 240: never)"
    )
    for s2 in (0.26, 0.57, 1.0):
        for kind in KINDS[1:]:
            cells = []
            for ratio in (0.9, 0.8, 0.67, 0.5):
                rng = np.random.default_rng(3)
                at = [first_pass(rng, s2, ratio, kind, 40, np.ones(1)) for _ in range(draws)]
                cells.append(f"{6 * float(np.median(at)):5.0f}")
            shown(f"s² {s2:4}  {kind:20}", cells, rows)
    return rows


def power(draws: int) -> Rows:
    rows: Rows = {}
    print("Chance that the first final look passes, true RMSE at 1, 0.9, 0.8, 0.7, 0.6, 0.5 x target")
    for s2 in (0.26, 0.57, 1.0):
        for walkers, each in ((10, 2), (20, 1), (10, 3), (10, 4), (20, 2), (5, 4)):
            cells = []
            for ratio in (1.0, 0.9, 0.8, 0.7, 0.6, 0.5):
                rng = np.random.default_rng(4)
                hits = [
                    final_bound(drawn(rng, "log-normal", s2, 0.2, walkers, each, np.ones(1)), 1).within(1 / ratio)
                    for _ in range(draws)
                ]
                cells.append(f"{np.mean(hits):.2f}")
            shown(f"s² {s2:4}  {walkers} walkers x {each} frames", cells, rows)
    return rows


def real(draws: int) -> Rows:
    """Members' forces on the frames of one trajectory: one member against the mean of the others."""
    rows: Rows = {}
    print("Coverage of one look at 95 % on differences of force committees | median of bound over true RMSE")
    folder = Path(DATA)
    if not folder.is_dir():
        print(f"{folder} is not there")
        return rows
    frames = [read(path, ":", format="extxyz") for path in sorted(folder.glob("*.extxyz.gz"))]
    forces = np.array([[atoms.arrays["forces_component_raw"] for atoms in member] for member in frames])
    for k in range(len(forces)):
        x = ((forces[k] - np.delete(forces, k, axis=0).mean(axis=0)) ** 2).mean(axis=(1, 2))
        x /= x.mean()
        for n in (6, 20, 40):
            rng = np.random.default_rng(5)
            looks = [Look(x[rng.choice(len(x), n, replace=False)]) for _ in range(draws)]
            row = []
            for bound in BOUNDS.values():
                values = np.array([bound(look, 0.05) for look in looks])
                row.append(f"{(values >= 1).mean():.3f} | {np.median(values):.2f}")
            shown(f"member {k}, {n:2} frames", row, rows, "   ")
    return rows


def promised(
    rng: np.random.Generator, audits: int, drift: float, jitter: float, apart: float, conditions: int
) -> Array:
    """(8 rounds, conditions) share of new frames within the limit made of this round's audits and of earlier ones.

    ln(RMSE/σ) has standard deviation 0.4 within a condition; its mean drifts and jitters from round to round, and
    conditions lie `apart` (standard deviation).
    """
    of = rng.normal(0, apart, conditions)
    sigma, error, ages, names, shares = np.empty(0), np.empty(0), np.empty(0), [], []
    for number in range(8):
        centre = drift * number + rng.normal(0, jitter)
        condition = np.arange(audits + 600) % conditions
        s = np.exp(0.5 * rng.standard_normal(len(condition)))
        e = s * np.exp(centre + of[condition] + 0.4 * rng.standard_normal(len(condition)))
        sigma, error = np.append(sigma, s[:audits]), np.append(error, e[:audits])
        ages = np.append(ages + 1, np.zeros(audits))
        names += [f"c{c}" for c in condition[:audits]]
        limit = fit_prediction_limit(sigma, error, ages=ages, conditions=names)
        new = slice(audits, None)
        within = np.array(limit.covers(s[new], e[new], [f"c{c}" for c in condition[new]]))
        shares.append([within[condition[new] == c].mean() for c in range(conditions)])
    return np.array(shares)


def limits(draws: int) -> Rows:
    rows: Rows = {}
    print("Share of new frames within a 95 % prediction limit: in rounds 1, 2, 8 | all rounds | worst condition")
    cases = [(n, 0.0, 0.0, 0.0, 1) for n in (3, 6, 10, 20)]
    cases += [(6, d, j, 0.0, 1) for d, j in ((0.0, 0.2), (0.0, 0.4), (0.1, 0.0), (0.3, 0.0), (-0.1, 0.0), (-0.3, 0.0))]
    cases += [(n, 0.0, 0.1, apart, c) for n, c in ((6, 2), (6, 3), (12, 3), (24, 3)) for apart in (0.0, 0.3, 0.6)]
    for audits, drift, jitter, apart, conditions in cases:
        rng = np.random.default_rng(6)
        shares = np.array([promised(rng, audits, drift, jitter, apart, conditions) for _ in range(draws)])
        by_round = shares.mean(axis=(0, 2))
        label = f"{audits:2} audits, drift {drift:4} jitter {jitter:3}, {conditions} conditions {apart:3} apart"
        each = " ".join(f"{by_round[k]:.3f}" for k in (0, 1, 7))
        shown(label, [each, f"{shares.mean():.3f}", f"{shares.mean(axis=(0, 1)).min():.3f}"], rows)
    return rows


TABLES: dict[str, tuple[Callable[[int], Rows], float]] = {
    "coverage": (coverage, 1.0),
    "looks": (looks, 0.5),
    "frames": (frames, 0.03),
    "power": (power, 0.5),
    "real": (real, 1.0),
    "limits": (limits, 0.1),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--table", choices=[*TABLES, "all"], default="all")
    given = parser.parse_args()
    told: dict[str, object] = {}
    for name, (table, share) in TABLES.items():
        if given.table in (name, "all"):
            told[name] = rows = table(max(20, int(share * given.draws)))
            if name == "coverage":
                told["bounds"] = over_student(rows)
            print()
    print(json.dumps(told, ensure_ascii=False))


def over_student(rows: Rows) -> dict[str, dict[str, float]]:
    """Mean coverage of each bound over all laws, and the median of its size over that of Student's t."""
    cells = np.array([[[float(x) for x in cell.split(" | ")] for cell in row] for row in rows.values()])
    return {
        name: {
            "coverage": round(float(cells[:, k, 0].mean()), 3),
            "over_student": round(float(np.median(cells[:, k, 1] / cells[:, 0, 1])), 3),
        }
        for k, name in enumerate(BOUNDS)
    }


if __name__ == "__main__":
    main()
