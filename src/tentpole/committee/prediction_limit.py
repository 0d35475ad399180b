"""How large an error a disagreement stands for, from audit frames: prediction limits that follow the committee.

With the ratios r_i = RMSE_i / σ_i of frames that the committee has not been trained on, drawn at random from the
population that is spoken of, the scale s is such that

    P(RMSE ≤ s σ) ≥ 1 − α      for a new frame of the same population.

Audit frames of earlier rounds judged earlier committees: a frame of age a (rounds) weighs w = 2^(−a).

Few frames, log-normal limit. With m and v the weighted mean and variance of ln r, n = (Σ w)² / Σ w² the effective
number of frames and t Student's quantile with n − 1 degrees of freedom,

    s = exp(m + t_{1−α, n−1} sqrt(v (1 + 1/n)))

(Hahn and Meeker, Statistical Intervals, 1991, for a normal variable). With several conditions the mean of condition
c is m + k_c (m_c − m), k_c = n_c / (n_c + 4), and v the variance about these means.

Many frames, weighted conformal quantile. From Σ w ≥ (1 − α)/α on, 19 at α = 0.05, the smallest s with
Σ_{r_i ≤ s} w_i ≥ (1 − α)(1 + Σ w) holds whatever the law of r (Barber, Candès, Ramdas and Tibshirani, Ann. Stat. 51,
816, 2023); a condition with that many frames has its own.

A committee that has judged none of them. Members trained again agree more or less than their predecessors did, by
chance: ln r of one committee lies about m_k, and the m_k spread by τ, 0.66 between committees of two members and about
0.3 between those of four (65 and 10 degrees of freedom; campaigns of bench_verdict, and the demo and bench_policies).
With W_k the weight of a committee, K = (Σ W)² / Σ W², v the variance about the m_k and m their mean,

    s = exp(m + t_{1−α, ν} sqrt(τ² (1 + 1/K) + v)),   ν = ν_0 + K − 1,   τ² = (ν_0 τ_0² + K Σ W (m_k − m)² / Σ W) / ν

the limit of one committee more, with τ_0² = 1 / (2 (M − 1)) for M members, what the logarithm of a standard deviation
from M values spreads by, as an estimate worth ν_0 = 3 committees.

Between rounds α follows what was missed (`next_alpha`), so that the share of misses over a long campaign approaches
what was asked for whatever happens to the population (Gibbs and Candès, NeurIPS 34, 2021).

P is joint over calibration and the new frame. Of frames below `threshold(target)` it says: no more than a share α of
all frames is both below it and above the target. It is no statement on every frame, nor on frames chosen by a rule.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv, stdtrit

from tentpole.errors import InputError
from tentpole.records import FloatArray

MINIMUM = 3
DECAY = 0.5
SHRINKAGE = 4.0
PRIOR = 3.0
"""Committees that τ_0, the spread between committees by their number of members, counts as much as."""

_SMALLEST = 1e-3
"""A ratio below this share of the median counts as this share: an error of exactly zero has no logarithm."""


@dataclass(frozen=True, slots=True)
class PredictionLimit:
    """What a σ is worth.

    scale : s, None where not calibrated. alpha : miss rate it was made for. frames : audit frames it rests on, and
    weight : their sum of weights. method : "log-normal", "conformal" or "between committees", "" where not
    calibrated. conditions : scale of
    each condition. why_not : why there is no scale.
    """

    scale: float | None
    alpha: float
    frames: int
    weight: float
    method: str = ""
    conditions: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    why_not: str = ""

    @property
    def words(self) -> str:
        """What is promised, or why nothing is."""
        if self.scale is None:
            return f"not calibrated: {self.why_not}"
        return (
            f"the RMSE of a frame stays below {self.scale:.3g} σ in {100 * (1 - self.alpha):.3g} % of cases "
            f"({self.method} limit from {self.frames} audit frames that weigh {self.weight:.3g})"
        )

    def of(self, condition: str | None = None) -> float:
        """Scale s of a condition; of all together for one that is not known. Raises InputError where not calibrated."""
        if self.scale is None:
            raise InputError(f"{self.words}. Label audit frames, or give the threshold in units of σ.")
        return self.scale if condition is None else self.conditions.get(condition, self.scale)

    def threshold(self, target: float, condition: str | None = None) -> float:
        """σ at which the limit equals `target`: target / s, in the unit of σ."""
        _positive("target", target)
        return target / self.of(condition)

    def covers(self, sigma: ArrayLike, error: ArrayLike, conditions: Sequence[str] | None = None) -> list[bool]:
        """Whether the error of each frame is within what its σ promised."""
        s, e = _values("σ", sigma), _values("errors", error)
        names = [None] * len(s) if conditions is None else list(conditions)
        return [bool(b <= self.of(c) * a) for a, b, c in zip(s, e, names, strict=True)]


def fit_prediction_limit(
    sigma: ArrayLike,
    error: ArrayLike,
    *,
    ages: ArrayLike | None = None,
    conditions: Sequence[str] | None = None,
    committees: Sequence[int] | None = None,
    members: int = 4,
    alpha: float = 0.05,
    minimum: int = MINIMUM,
) -> PredictionLimit:
    """The limit from audit frames of this round (age 0) and of earlier ones.

    Parameters
    ----------
    sigma, error : (n,) disagreement and RMSE of each frame, in the same unit or not; finite, not negative. A frame
        without disagreement but with an error has an infinite ratio; one with neither says nothing.
    ages : (n,) rounds since; 0 where None. conditions : (n,) names; one for all where None.
    committees : (n,) which committee judged each frame, of `members` members: the limit is that of one which has judged
        none of them. None: all were judged by the one that the limit is for.
    alpha : share of frames whose error may exceed the limit.
    minimum : fewest frames, by effective number, that a limit is made of.

    Raises
    ------
    InputError : lengths differ, a value is not finite or negative, alpha is not between 0 and 1.

    >>> fit_prediction_limit([0.1, 0.1, 0.1, 0.1], [0.2, 0.2, 0.2, 0.2]).scale
    2.0
    """
    frames = _Frames.of(sigma, error, ages, conditions, committees)
    if not 0.0 < alpha < 1.0:
        raise InputError(f"alpha = {alpha} must lie between 0 and 1")
    if members < 2:
        raise InputError(f"members = {members}: a committee has at least 2")
    count, weight = len(frames.ratio), float(frames.weight.sum())
    if frames.effective < max(2, minimum) - 1e-9:
        why = f"{count} audit frames count as {frames.effective:.2g}, {minimum} are needed"
        return PredictionLimit(None, alpha, count, weight, why_not=why)
    names = sorted(set(frames.conditions))
    scale = None if committees is not None else conformal_quantile(frames.ratio, frames.weight, alpha)
    if math.isinf(frames.ratio.max()) and (scale is None or math.isinf(scale)):
        why = f"{int(np.isinf(frames.ratio).sum())} of {count} audit frames have an error but no disagreement at all"
        return PredictionLimit(None, alpha, count, weight, why_not=why)
    if committees is not None:
        logs = _between_committees(frames, names, members, alpha)
        each = MappingProxyType({name: logs[name] for name in names})
        return PredictionLimit(logs[""], alpha, count, weight, "between committees", each)
    method = "log-normal" if scale is None else "conformal"
    own: dict[str, float] = {}
    if np.isfinite(frames.ratio).all():
        logs = _log_normal(frames, names, alpha)
        scale = logs[""] if scale is None else scale
        own = {name: logs[name] for name in names}
    for name in names:
        part = np.array([c == name for c in frames.conditions])
        quantile = conformal_quantile(frames.ratio[part], frames.weight[part], alpha)
        if quantile is not None and math.isfinite(quantile):
            own[name] = quantile
    return PredictionLimit(scale, alpha, count, weight, method, MappingProxyType(own))


def conformal_quantile(ratio: FloatArray, weight: FloatArray, alpha: float) -> float | None:
    """Smallest r with Σ_{r_i ≤ r} w_i ≥ (1 − alpha)(1 + Σ w); None where all weights together are too few."""
    order = np.argsort(ratio, kind="stable")
    reached = np.cumsum(weight[order])
    needed = (1.0 - alpha) * (1.0 + float(weight.sum()))
    place = int(np.searchsorted(reached, needed - 1e-9))
    return float(ratio[order[place]]) if place < len(ratio) else None


def next_alpha(
    alpha: float, missed: int, frames: int, *, wanted: float = 0.05, step: float = 0.1, least: float = 0.01
) -> float:
    """α for the next round: α + step (wanted − missed/frames), kept between `least` and 4 `wanted`.

    missed : audit frames of the round, of `frames`, whose error exceeded what had been promised before they were
    labelled. Without any frame α stays.

    >>> round(next_alpha(0.05, 0, 6), 3), round(next_alpha(0.05, 2, 6), 3)
    (0.055, 0.022)
    """
    if not 0 <= missed <= frames:
        raise InputError(f"{missed} of {frames} frames were missed: must lie between 0 and {frames}")
    if frames == 0:
        return alpha
    return min(max(alpha + step * (wanted - missed / frames), least), 4 * wanted)


@dataclass(frozen=True, slots=True)
class Coverage:
    """Share of audit frames whose error was within what had been promised, with its confidence interval."""

    within: int
    frames: int
    low: float
    high: float
    confidence: float

    @property
    def share(self) -> float | None:
        """Share of the frames within; None for no frames."""
        return self.within / self.frames if self.frames else None

    @property
    def words(self) -> str:
        """The share in a sentence, with its interval."""
        if self.share is None:
            return "coverage: no audit frame had a promise"
        return (
            f"coverage {100 * self.share:.3g} % of {self.frames} audit frames "
            f"({100 * self.low:.3g}–{100 * self.high:.3g} % with {100 * self.confidence:g} % confidence)"
        )


def pooled_coverage(within: Sequence[bool], confidence: float = 0.95) -> Coverage:
    """Coverage over all audit frames of all rounds, each judged by what was promised before it was labelled.

    Two-sided interval of Clopper and Pearson, Biometrika 26, 404 (1934).
    """
    n, k = len(within), sum(bool(w) for w in within)
    tail = (1.0 - confidence) / 2
    low = float(betaincinv(k, n - k + 1, tail)) if k else 0.0
    high = float(betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0
    return Coverage(k, n, low, high, confidence)


@dataclass(frozen=True, slots=True)
class _Frames:
    """Audit frames that say something: ratio of error and σ, weight, condition and committee of each."""

    ratio: FloatArray
    weight: FloatArray
    conditions: tuple[str, ...]
    committees: NDArray[np.intp]

    @staticmethod
    def of(
        sigma: ArrayLike,
        error: ArrayLike,
        ages: ArrayLike | None,
        conditions: Sequence[str] | None,
        committees: Sequence[int] | None,
    ) -> _Frames:
        s, e = _values("σ", sigma), _values("errors", error)
        a = np.zeros(len(s)) if ages is None else _values("ages", ages)
        names = ("",) * len(s) if conditions is None else tuple(conditions)
        judges = np.zeros(len(s), dtype=np.intp) if committees is None else np.asarray(committees, dtype=np.intp)
        if not len(s) == len(e) == len(a) == len(names) == len(judges):
            raise InputError(
                f"{len(s)} σ, {len(e)} errors, {len(a)} ages, {len(names)} conditions and {len(judges)} committees: "
                "one each"
            )
        told = (s > 0) | (e > 0)
        with np.errstate(divide="ignore"):
            ratio = e[told] / s[told]
        finite = ratio[np.isfinite(ratio) & (ratio > 0)]
        if len(finite):
            ratio = np.maximum(ratio, _SMALLEST * np.median(finite))
        of = tuple(n for n, t in zip(names, told, strict=True) if t)
        return _Frames(ratio, DECAY ** a[told], of, np.unique(judges[told], return_inverse=True)[1])

    @property
    def effective(self) -> float:
        return float(self.weight.sum() ** 2 / (self.weight**2).sum()) if len(self.weight) else 0.0


def _log_normal(frames: _Frames, names: Sequence[str], alpha: float) -> dict[str, float]:
    """Exp of the upper prediction limit of ln r: of all together under "", and of each condition."""
    y, w, n = np.log(np.maximum(frames.ratio, 1e-300)), frames.weight, frames.effective
    total = float(w.sum())
    m = float(w @ y) / total
    limits = {name: _upper(m, y - m, w, n - 1, 1 / n, alpha) for name in ("",)}
    parts = {name: np.array([c == name for c in frames.conditions]) for name in names}
    held = {name: float(w[part].sum()) for name, part in parts.items()}
    share = {name: count / (count + SHRINKAGE) for name, count in held.items()}
    centre = {name: m + share[name] * (float(w[part] @ y[part]) / held[name] - m) for name, part in parts.items()}
    fitted = np.array([centre[c] for c in frames.conditions])
    lost = 1 + sum(k * (1 - held[name] / total) for name, k in share.items())
    for name in names:
        k = share[name]
        extra = k**2 / held[name] + (1 - k**2) / n
        limits[name] = _upper(centre[name], y - fitted, w, n - lost, extra, alpha)
    return limits


def _between_committees(frames: _Frames, names: Sequence[str], members: int, alpha: float) -> dict[str, float]:
    """Exp of the upper prediction limit of ln r of another committee: of all under "", and of each condition."""
    y, w, judge = np.log(np.maximum(frames.ratio, 1e-300)), frames.weight, frames.committees

    def means(values: FloatArray) -> FloatArray:
        return np.asarray(np.bincount(judge, w * values) / np.bincount(judge, w))

    about = y - means(y)[judge]
    offset, lost = {"": 0.0}, {"": 0.0}
    for name in names:
        part = np.array([c == name for c in frames.conditions])
        held = float(w[part].sum())
        share = 0.0 if len(names) == 1 else held / (held + SHRINKAGE)
        offset[name], lost[name] = share * float(w[part] @ about[part]) / held, share**2 / held
    level = y - np.array([offset[c] for c in frames.conditions])
    of_committee = means(level)
    weights = means(w)
    effective = float(weights.sum() ** 2 / (weights**2).sum())
    centre = float(weights @ of_committee / weights.sum())
    free = PRIOR + effective - 1
    between = effective * float(weights @ (of_committee - centre) ** 2 / weights.sum())
    between = (PRIOR / (2 * (members - 1)) + between) / free
    residuals = level - of_committee[judge]
    within = float(w @ residuals**2) / float(w.sum()) * len(y) / max(len(y) - len(weights), 1)
    width = {c: math.sqrt(between * (1 + 1 / effective) + within * (1 + lost[c])) for c in offset}
    return {c: math.exp(centre + offset[c] + stdtrit(free, 1 - alpha) * width[c]) for c in offset}


def _upper(centre: float, residuals: FloatArray, w: FloatArray, free: float, extra: float, alpha: float) -> float:
    """Limit exp(centre + t sqrt(v (1 + extra))), v the weighted variance with `free` effective degrees of freedom."""
    free = max(free, 1.0)
    n = float(w.sum() ** 2 / (w**2).sum())
    v = float(w @ residuals**2) / float(w.sum()) * n / free
    return math.exp(centre + stdtrit(free, 1 - alpha) * math.sqrt(v * (1 + extra)))


def _values(name: str, values: ArrayLike) -> FloatArray:
    array = np.asarray(values, dtype=np.float64).ravel()
    bad = array[~(np.isfinite(array) & (array >= 0))]
    if len(bad):
        raise InputError(f"{name}: {bad[0]} must be finite and not negative. Leave failed frames out.")
    return array


def _positive(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{name} = {value} must be finite and above 0")
