"""A bound on an RMSE without a model of the tail, valid at any stopping time: betting on capped squared errors.

For X = min(x / cap², 1) in [0, 1] with conditional mean at least m, the capital of bets that X comes out below m,

    K(m) = Π_t (1 + λ (m − X_t)),    0 ≤ λ < 1/(1 − m),

is a non-negative supermartingale, so that it reaches 1/α ever with probability at most α (Ville). The smallest m with
K(m) ≥ 1/α is an upper confidence bound whenever one stops (Waudby-Smith and Ramdas, J. R. Stat. Soc. B 86, 1, 2024).
Capital is spread over the fractions `FRACTIONS` of the largest λ, and over the rounds at which betting starts with the
weights 6 / (π² j²): errors of old committees do not eat up what is won on recent ones, and no window is chosen.

Where the committee improves from round to round, the bound holds for the newest one that was judged: at any m below its
mean, all earlier means are above m too. What is bounded is the RMSE of errors that count no more than `cap` each.

The bound assumes nothing of the tail and pays for it: with cap = 3 targets it takes 54–72 frames to pass an RMSE of
0.5–0.67 times the target, where `confidence.interim_bound` takes 24 (`scripts/bench_confidence.py --table frames`).
It is no default.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.optimize import brentq

from tentpole.campaign.confidence import ALPHA, Look
from tentpole.errors import InputError
from tentpole.records import FloatArray

FRACTIONS = (0.1, 0.25, 0.5, 0.75, 0.95)


def betting_bound(rounds: Sequence[Look], cap: float, alpha: float = ALPHA) -> float | None:
    """Upper bound, at any stopping time, on sqrt(E[min(x, cap²)]) of the newest committee judged; equal weights.

    Parameters
    ----------
    rounds : one look per round, the oldest first.
    cap : largest error that is counted, in the unit of the RMSE (eV/Å); a few times the target.
    alpha : probability that the bound is ever too low.

    Returns
    -------
    The bound in the unit of `cap`; None where nothing below `cap` itself can be said.

    Raises
    ------
    InputError : cap not above 0, alpha not between 0 and 1.
    """
    if not (math.isfinite(cap) and cap > 0):
        raise InputError(f"cap = {cap} must be finite and above 0")
    if not 0.0 < alpha < 1.0:
        raise InputError(f"alpha = {alpha} must lie between 0 and 1")
    values = [blocks(look, cap) for look in rounds]

    def missing(m: float) -> float:
        return math.log(1.0 / alpha) - log_capital(values, m)

    edge = 1.0 - 1e-9
    if not values or missing(edge) > 0:
        return None
    if missing(0.0) <= 0:
        return 0.0
    return cap * math.sqrt(brentq(missing, 0.0, edge, xtol=1e-9))


def blocks(look: Look, cap: float) -> FloatArray:
    """Means of min(x/cap², 1) over blocks with one frame of every condition, in the frames' order.

    Within a condition frames are a sample of its own mean only; a block's mean has the mean over conditions. Frames
    beyond the condition with the fewest are left out.
    """
    capped = np.minimum(look.squares / cap**2, 1.0)
    by_condition: dict[str, list[float]] = {}
    for condition, value in zip(look.conditions, capped, strict=True):
        by_condition.setdefault(condition, []).append(float(value))
    rows = list(zip(*by_condition.values(), strict=False))
    return np.mean(rows, axis=1) if rows else np.zeros(0)


def log_capital(rounds: Sequence[FloatArray], m: float) -> float:
    """ln K(m), averaged over fractions and over the rounds at which betting starts. Rises with m."""
    fractions = np.array(FRACTIONS) / (1.0 - m)
    wins = np.array([np.log1p(np.multiply.outer(fractions, m - x)).sum(axis=1) for x in rounds])
    since = np.cumsum(wins[::-1], axis=0)[::-1]  # (R, fractions): capital of bets started in each round
    start = 6.0 / (math.pi * np.arange(1, len(rounds) + 1)) ** 2
    unused = max(1.0 - float(start.sum()), 1e-300)
    terms = np.log(start)[:, None] + since - math.log(len(FRACTIONS))
    return float(np.logaddexp.reduce(np.append(terms.ravel(), math.log(unused))))
