"""Upper confidence bounds on the RMSE over the frames that unbiased MD visits.

The claim. Let x be the mean squared error of a frame, μ_c the mean of x over the frames that unbiased MD visits under
condition c, ω_c the weight of that condition (Σ ω_c = 1) and τ the target. What is to be shown is

    sqrt(Σ_c ω_c μ_c) ≤ τ        for the committee in force.

Audit frames are drawn from that MD at random in time, so they are a fair sample of it. Their squared errors are
skewed: Student's t on a handful of them is no 95 % bound (`scripts/bench_confidence.py --table coverage`: 64–95 % on
6–40 log-normal values of 4–20 walkers that share up to half of the variance of ln x). `rmse_bound` works on y = ln x
instead and holds in 94–98 % of the same draws, in 93–99 % for the squares of normal numbers, and in 91–96 % for 6–40
differences between real force committees (`--table real`; Student's t 78–90 %).

Looking repeatedly. A bound tested every round until it passes must spend its error probability over the looks:
look r is made at α_r = 0.7 · 0.3^(r−1) α, and Σ_r α_r = α (`spend`). Whatever was learnt before a look decided that it
was made, the chance that any look passes although its claim is false is at most α.

Which committee. Audit frames of a round judge the committee *before* it was trained on them. `interim_bound` pools
the rounds of a window: where each retraining improves the committee, the older ones' errors are too large for the
newest, and the bound is conservative; where retraining makes it worse, the pooled bound does not hold for the newest
committee. It is therefore a gate, which says when a last look is worth its labels. The claim itself rests on
`final_bound` alone: fresh audit frames of one committee that is not trained further, judged once.

No bound is free of assumptions: without a bound or a model of the tail, no number of frames bounds a mean (Bahadur and
Savage, Ann. Math. Stat. 27, 1115, 1956). Here ln x is taken as roughly normal. A kind of frame rarer than
1 − α^(1/n) may be missing among n audit frames altogether, and then no bound on them can know of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri, stdtrit

from tentpole.errors import InputError
from tentpole.records import FloatArray

ALPHA = 0.05
NEEDED = 20
AGAIN = 0.3
"""The error probability of a look over that of the look before."""
FEWEST_WALKERS = 3
"""Fewest walkers beyond one per condition from which the spread between walkers is estimated."""

_FLOOR = 0.2
"""A squared error below this share of the mean counts as this share: it hardly adds to the mean, but its logarithm
would widen the bound (by 5.0 instead of 1.5 for the squares of 20 normal numbers)."""

_SKEW = 0.5
"""Least skewness of ln x that is reckoned with: differences of real force committees had 0.1 to 0.5."""


@dataclass(frozen=True, slots=True)
class Look:
    """Audit frames that one committee was judged on before it was trained on them.

    Parameters
    ----------
    squares : (n,) mean squared error of each frame, e.g. (eV/Å)²; finite, not negative.
    conditions : (n,) name of each frame's condition; all alike where left out.
    walkers : (n,) name of each frame's trajectory; every frame its own where left out.

    Raises
    ------
    InputError : a value is not finite or negative, or the lengths differ.

    >>> Look(np.array([1e-4, 4e-4])).walkers
    ('0', '1')
    """

    squares: FloatArray
    conditions: tuple[str, ...] = ()
    walkers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        squares = np.asarray(self.squares, dtype=np.float64).ravel()
        bad = squares[~(np.isfinite(squares) & (squares >= 0))]
        if len(bad):
            raise InputError(f"squared error {bad[0]}: must be finite and not negative. Leave failed frames out.")
        n = len(squares)
        conditions = tuple(self.conditions) or ("",) * n
        walkers = tuple(self.walkers) or tuple(str(i) for i in range(n))
        if not len(conditions) == len(walkers) == n:
            raise InputError(f"{n} squared errors, {len(conditions)} conditions and {len(walkers)} walkers: one each")
        for name, value in (("squares", squares), ("conditions", conditions), ("walkers", walkers)):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.squares)


def joined(looks: Sequence[Look]) -> Look:
    """All frames of `looks` as one. A walker's name means the same trajectory in all of them."""
    squares = [look.squares for look in looks]
    return Look(
        np.concatenate(squares) if squares else np.zeros(0),
        tuple(c for look in looks for c in look.conditions),
        tuple(w for look in looks for w in look.walkers),
    )


@dataclass(frozen=True, slots=True)
class Bound:
    """What audit frames say of an RMSE.

    rmse : its estimate, and upper : its upper confidence bound at level 1 − alpha, in the root of `squares`' unit;
    None where nothing can be said. spread : standard deviation of ln x within a condition, without unit.
    frames, walkers, conditions : how many of each. clustered : frames of one walker were not taken as independent;
    where there are fewer than three walkers more than conditions they are, and the bound speaks of these walkers only.
    """

    rmse: float | None
    upper: float | None
    alpha: float
    frames: int
    walkers: int
    conditions: int
    spread: float | None = None
    clustered: bool = False
    why_not: str = ""

    @property
    def words(self) -> str:
        """The bound in a sentence, with what it rests on; without a unit."""
        rests = ", ".join(
            f"{n} {what}{'' if n == 1 else 's'}"
            for n, what in ((self.frames, "audit frame"), (self.walkers, "walker"), (self.conditions, "condition"))
        )
        if self.upper is None or self.rmse is None:
            return f"no bound from {rests}: {self.why_not}"
        whose = "" if self.clustered else "; too few walkers to tell those explored from others"
        return (
            f"RMSE {self.rmse:.4g}, at most {self.upper:.4g} with {percent(self.alpha)} % confidence ({rests}"
            f"{whose}); frames rarer than {100 * self.unseen:.2g} % may be missing among them"
        )

    @property
    def unseen(self) -> float:
        """Share of the population that n independent frames miss with probability alpha: 1 − alpha^(1/n)."""
        return 1.0 - self.alpha ** (1.0 / self.frames) if self.frames else 1.0

    def within(self, target: float) -> bool | None:
        """Whether the bound is at most `target` (its unit); None where there is no bound."""
        _positive("target", target)
        return None if self.upper is None else self.upper <= target


def spend(alpha: float, number: int) -> float:
    """The share of `alpha` for look `number` = 1, 2, …: 0.7 · 0.3^(r−1) α, which sums to α over all looks.

    Campaigns look once or twice: the first look is worth most of it.

    >>> round(spend(0.05, 1), 4), round(spend(0.05, 2), 4)
    (0.035, 0.0105)
    """
    if number < 1:
        raise InputError(f"look number {number}: looks are counted from 1")
    return _share(alpha) * (1 - AGAIN) * AGAIN ** (number - 1)


def percent(alpha: float) -> str:
    """The confidence 1 − alpha in percent, to a hundredth and never rounded up to 100.

    >>> percent(0.05), percent(0.035), percent(0.000284)
    ('95', '96.5', '99.97')
    """
    return f"{math.floor(1e4 * (1 - alpha) + 1e-6) / 100:g}"


def rmse_bound(look: Look, alpha: float = ALPHA, weights: Mapping[str, float] | None = None) -> Bound:
    """Upper bound on sqrt(Σ_c ω_c μ_c) that holds with probability 1 − alpha at a single look.

    With n frames of W walkers under C conditions, y = ln x, m_c the mean of y under c, s² its variance within
    conditions (n − C degrees of freedom), p_c ∝ ω_c exp(m_c), the larger of

    1. log-normal:  ln Σ ω_c exp(m_c) + s²/2 + sqrt(A² + B² + 2 ρ A B)
       A² : variance of the first term times the squared Student quantile; the larger of that of independent frames,
       t²_{n−C} s² Σ p_c²/n_c, and that of independent walkers, t²_{W−C} S Σ p_c²/W_c, S the variance of walkers' means.
       B = s²/2 (f/χ²_{α,f} − 1) : how far s² may have come out too small, f = n − C less the loss by correlation.
       ρ = g / sqrt(k − 1) : correlation of mean and variance of y by its skewness g, at least 0.5, and kurtosis k.
    2. Student's t on the logarithm of the mean of x, linearised, with walkers as the independent units.

    (1) with ρ = 0 is the method of variance estimates recovery of Zou, Taleban and Huo, Comput. Stat. Data Anal. 53,
    3755 (2009), extended here to strata, clusters and skewness; it replaces Cox's bound (Land, Technometrics 14, 145,
    1972), whose coverage falls short of 95 % on so few frames. (2) guards against tails heavier than log-normal.

    Parameters
    ----------
    look : the frames. At least two more than there are conditions, else nothing is said.
    alpha : probability that the bound is too low.
    weights : weight of each condition, of any sum; equal for all conditions that occur where None. A condition with
        a weight but without a frame leaves nothing to say.

    Raises
    ------
    InputError : alpha not between 0 and 1, a weight not positive, a frame of a condition without a weight.
    """
    alpha = _share(alpha)
    shares = _shares(look, weights)
    strata = _Strata.of(look, tuple(shares))
    counted = (alpha, len(look), len(strata.walker_frames), len(shares))
    missing = [c for c, n in zip(shares, strata.frames, strict=True) if n == 0]
    if missing:
        return Bound(None, None, *counted, why_not=f"condition {missing[0]!r} has no audit frame")
    if len(look) < len(shares) + 2:
        return Bound(None, None, *counted, why_not=f"at least {max(3, len(shares) + 2)} frames are needed")
    omega = np.array(list(shares.values()))
    mean = float(omega @ strata.means(look.squares))
    if mean == 0.0:
        return Bound(0.0, 0.0, *counted, 0.0, strata.clustered)
    x = np.maximum(look.squares, _FLOOR * mean)
    log, spread = _log_normal(strata, np.log(x), omega, alpha)
    upper = _root(max(log, _linearised(strata, x, omega, alpha)))
    if not math.isfinite(upper):
        why = "errors spread too far for so few frames"
        return Bound(math.sqrt(mean), None, *counted, spread, strata.clustered, why)
    return Bound(math.sqrt(mean), upper, *counted, spread, strata.clustered)


def _root(logarithm: float) -> float:
    """Square root of what has this logarithm; inf beyond the numbers that there are."""
    return math.exp(logarithm / 2) if logarithm < 1400.0 else math.inf


def window(counts: Sequence[int], needed: int) -> int:
    """How many of the last rounds to pool so that they hold `needed` frames; all of them where they do not.

    >>> window([6, 6, 12, 8], needed=20)
    2
    """
    held, span = 0, 0
    for count in reversed(counts):
        if held >= needed:
            break
        held, span = held + count, span + 1
    return span


def interim_bound(
    rounds: Sequence[Look],
    *,
    needed: int = NEEDED,
    alpha: float = ALPHA,
    weights: Mapping[str, float] | None = None,
) -> Bound:
    """Bound after the last of `rounds`, valid although one looks after every round.

    Pools the window of recent rounds that holds `needed` frames. A look counts from the first round on at which
    there were that many; look r is made at `spend(alpha, r)`. It bounds the mean over the committees of the window,
    and with it the newest of them where none of them is better than the newest.
    """
    counts = [len(look) for look in rounds]
    number = sum(sum(counts[: r + 1]) >= needed for r in range(len(counts)))
    if number == 0:
        look = joined(rounds)
        sizes = (len(look), len(set(look.walkers)), len(set(look.conditions)))
        return Bound(None, None, alpha, *sizes, why_not=f"{needed} frames are needed")
    return rmse_bound(joined(rounds[-window(counts, needed) :]), spend(alpha, number), weights)


def final_bound(
    look: Look,
    number: int,
    *,
    least: int = NEEDED,
    alpha: float = ALPHA,
    weights: Mapping[str, float] | None = None,
) -> Bound:
    """Bound on which CONVERGED rests: fresh audit frames of one committee that is not trained further.

    number : how many such looks the campaign has made, this one included. The j-th is made at `spend(alpha, j)`, so
    the chance that any look of a campaign passes a committee whose RMSE is above the target is at most alpha,
    whatever decided when to look: but frames that had a part in the decision, the audit frames that opened the gate,
    are not to be among those looked at. If the committee is still the same after a look that failed, the next look may
    hold the earlier one's frames too. Below `least` frames nothing is said.
    """
    if len(look) < least:
        counts = (len(look), len(set(look.walkers)), len(set(look.conditions)))
        return Bound(None, None, spend(alpha, number), *counts, why_not=f"{least} frames are needed")
    return rmse_bound(look, spend(alpha, number), weights)


def expected_factor(spread: float, frames: int, alpha: float, conditions: int = 1) -> float:
    """How far above the RMSE its bound will lie: the ratio for `frames` independent frames of that spread of ln x.

    >>> round(expected_factor(0.5, 20, 0.05), 2)
    1.14
    """
    f = frames - conditions
    if f < 2:
        return math.inf
    if not (math.isfinite(spread) and spread >= 0):
        raise InputError(f"spread = {spread} must be finite and not negative")
    s2 = spread**2
    a = float(stdtrit(f, 1 - alpha)) * math.sqrt(s2 / frames)
    b = s2 / 2 * (f / float(chdtri(f, 1 - alpha)) - 1)
    return _root(_width(a, b, _SKEW / math.sqrt(2)))


def frames_needed(ratio: float, spread: float, alpha: float, conditions: int = 1, most: int = 1000) -> int | None:
    """Fewest audit frames whose bound can be expected within the target, for an RMSE of `ratio` times the target.

    None where not even `most` would do; always so for a ratio of 1 and above.
    """
    _positive("ratio", ratio)
    counts = range(conditions + 2, most + 1)
    return next((n for n in counts if ratio * expected_factor(spread, n, alpha, conditions) <= 1.0), None)


@dataclass(frozen=True, slots=True)
class _Strata:
    """Frames by condition and walker: index arrays and counts."""

    condition: NDArray[np.intp]  # (n,) stratum of each frame
    walker: NDArray[np.intp]  # (n,) walker of each frame
    frames: NDArray[np.intp]  # (C,)
    walkers: NDArray[np.intp]  # (C,)
    walker_frames: NDArray[np.intp]  # (W,)
    walker_condition: NDArray[np.intp]  # (W,)

    @staticmethod
    def of(look: Look, names: tuple[str, ...]) -> _Strata:
        place = {name: i for i, name in enumerate(names)}
        pairs = list(zip(look.conditions, look.walkers, strict=True))
        known = {pair: i for i, pair in enumerate(dict.fromkeys(pairs))}
        condition = np.array([place[c] for c, _ in pairs], dtype=np.intp)
        walker = np.array([known[pair] for pair in pairs], dtype=np.intp)
        owner = np.array([place[c] for c, _ in known], dtype=np.intp)
        c, w = len(names), len(known)
        return _Strata(
            condition,
            walker,
            np.bincount(condition, minlength=c),
            np.bincount(owner, minlength=c),
            np.bincount(walker, minlength=w),
            owner,
        )

    @property
    def clustered(self) -> bool:
        return len(self.walker_frames) - len(self.frames) >= FEWEST_WALKERS

    def means(self, values: FloatArray) -> FloatArray:
        """Mean of (n,) values per condition (C,); NaN for none."""
        with np.errstate(invalid="ignore"):
            return np.asarray(np.bincount(self.condition, values, len(self.frames)) / self.frames)

    def within(self, residuals: FloatArray) -> tuple[float, int]:
        """Variance of residuals about the conditions' means, and its degrees of freedom."""
        free = len(residuals) - len(self.frames)
        return float(residuals @ residuals) / free, free

    def between(self, residuals: FloatArray) -> tuple[float, int]:
        """Variance of walkers' mean residuals, weighted by their frames, and its degrees of freedom."""
        free = len(self.walker_frames) - len(self.frames)
        share = self.frames / self.walkers  # frames per walker of each condition
        sums = np.bincount(self.walker, residuals, len(self.walker_frames)) / share[self.walker_condition]
        return float(sums @ sums) / free, free


def _log_normal(strata: _Strata, y: FloatArray, omega: FloatArray, alpha: float) -> tuple[float, float]:
    """Upper bound on ln Σ ω μ, and the standard deviation of y within conditions."""
    m = strata.means(y)
    top = m.max()
    parts = omega * np.exp(m - top)
    p = parts / parts.sum()
    residuals = y - m[strata.condition]
    s2, frames_free = strata.within(residuals)
    free = float(frames_free)
    mean_variance = s2 * float((p**2 / strata.frames).sum())
    a2 = stdtrit(free, 1 - alpha) ** 2 * mean_variance
    if strata.clustered:
        between, walkers_free = strata.between(residuals)
        walkers_variance = between * float((p**2 / strata.walkers).sum())
        a2 = max(a2, float(stdtrit(walkers_free, 1 - alpha)) ** 2 * walkers_variance)
        if walkers_variance > mean_variance:
            free = max(walkers_free, free * mean_variance / walkers_variance)
    width = _width(math.sqrt(a2), s2 / 2 * (free / chdtri(free, 1 - alpha) - 1), _correlation(residuals))
    return float(math.log(parts.sum()) + top + s2 / 2 + width), math.sqrt(s2)


def _width(a: float, b: float, correlation: float) -> float:
    return math.sqrt(a**2 + b**2 + 2 * correlation * a * b)


def _correlation(residuals: FloatArray) -> float:
    """Of mean and variance of a sample, from its skewness, of which at least `_SKEW` is reckoned with."""
    variance = float((residuals**2).mean())
    if variance == 0.0:
        return 0.0
    skew = float((residuals**3).mean()) / (variance * math.sqrt(variance))
    kurtosis = float((residuals**4).mean()) / variance**2
    return min(max(skew, _SKEW) / math.sqrt(max(kurtosis - 1, 2.0)), 1.0)


def _linearised(strata: _Strata, x: FloatArray, omega: FloatArray, alpha: float) -> float:
    """Upper bound on ln Σ ω μ by Student's t on relative residuals."""
    means = strata.means(x)
    parts = omega * means
    q = parts / parts.sum()
    relative = x / means[strata.condition] - 1.0
    if strata.clustered:
        variance, free = strata.between(relative)
        units = strata.walkers
    else:
        variance, free = strata.within(relative)
        units = strata.frames
    error = math.sqrt(variance * float((q**2 / units).sum()))
    return float(math.log(parts.sum()) + stdtrit(free, 1 - alpha) * error)


def _shares(look: Look, weights: Mapping[str, float] | None) -> dict[str, float]:
    """Weights that sum to one, by condition; equal ones for the conditions that occur where None."""
    if weights is None:
        weights = dict.fromkeys(sorted(set(look.conditions)), 1.0)
    for condition, weight in weights.items():
        _positive(f"weight of condition {condition!r}", weight)
    unknown = sorted(set(look.conditions) - set(weights))
    if unknown:
        raise InputError(f"condition {unknown[0]!r} has audit frames but no weight. Known: {', '.join(weights)}.")
    total = sum(weights.values())
    return {condition: weight / total for condition, weight in weights.items()}


def _share(alpha: float) -> float:
    if not 0.0 < alpha < 1.0:
        raise InputError(f"alpha = {alpha} must lie between 0 and 1")
    return alpha


def _positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{name} = {value} must be finite and above 0")
