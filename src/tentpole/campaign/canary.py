"""Whether a retrained committee has become worse, beyond noise, on frames that neither it nor its predecessor knows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from tentpole.errors import InputError
from tentpole.records import FloatArray

ALPHA = 0.05
FEWEST = 6
_FLOOR = 1e-2
"""A squared error below this share of the mean of both committees counts as this share."""

_EXHAUSTIVE = 12
"""With so many walkers all exchanges are looked at, with more 2^12 of them."""


@dataclass(frozen=True, slots=True)
class CommitteeComparison:
    """A committee against its predecessor.

    worse : whether it is worse beyond noise; None where that cannot be judged. ratio : its RMSE over the
    predecessor's. typical : the same for a typical frame (geometric mean over frames). frames, walkers : how many.
    """

    worse: bool | None
    ratio: float | None
    typical: float | None
    frames: int
    walkers: int
    words: str


def compare_committees(
    before: ArrayLike,
    after: ArrayLike,
    *,
    walkers: Sequence[str] | None = None,
    margin: float = 0.0,
    alpha: float = ALPHA,
    fewest: int = FEWEST,
) -> CommitteeComparison:
    """One-sided paired tests of "after is worse by more than `margin`", two of them at alpha/2 each.

    1. typical frame: Student's t on d_i = ½ ln(x_after,i / x_before,i);
    2. RMSE: how rarely Σ x_after / Σ x_before is as large when the two committees change places at random, walker by
       walker (Fisher, The Design of Experiments, 1935): it hears a few frames gone very wrong.

    Frames of one walker count as one datum.

    Parameters
    ----------
    before, after : (n,) mean squared errors of the same frames, (eV/Å)² or any unit, by the two committees.
    walkers : (n,) trajectory of each frame; every frame its own where None.
    margin : how much worse (0.05: 5 % in the RMSE) is still let pass.
    alpha : probability of refusing a committee that is just as good.
    fewest : fewest walkers (or frames, where there are none) that are judged.

    Raises
    ------
    InputError : lengths differ, a value is not finite or negative, margin below 0, alpha not between 0 and 1.

    >>> compare_committees([1.0] * 10, [4.0, 4.1] * 5).worse
    True
    """
    b, a = _squares("before", before), _squares("after", after)
    names = [str(i) for i in range(len(b))] if walkers is None else list(walkers)
    if not len(a) == len(b) == len(names):
        raise InputError(f"{len(b)} errors before, {len(a)} after and {len(names)} walkers: the same frames are needed")
    if not 0.0 < alpha < 1.0:
        raise InputError(f"alpha = {alpha} must lie between 0 and 1")
    if not (math.isfinite(margin) and margin >= 0):
        raise InputError(f"margin = {margin} must be finite and not negative")
    groups = len(set(names))
    if groups < max(2, fewest):
        words = f"not judged: {len(b)} frames of {groups} walkers, {fewest} are needed"
        return CommitteeComparison(None, None, None, len(b), groups, words)
    if not (a.any() or b.any()):
        return CommitteeComparison(False, 1.0, 1.0, len(b), groups, "neither committee errs at all")
    floor = _FLOOR * float((a + b).mean()) / 2
    a, b = np.maximum(a, floor), np.maximum(b, floor)
    place = {name: i for i, name in enumerate(dict.fromkeys(names))}
    unit = np.array([place[name] for name in names])
    typical, noise = _mean_and_error(0.5 * np.log(a / b), unit)
    chance = _chance_of_ratio(_sums(a, unit) / (1 + margin) ** 2, _sums(b, unit))
    t = float(stdtrit(groups - 1, 1 - alpha / 2))
    worse = typical - t * noise > math.log1p(margin) or chance <= alpha / 2
    ratio = math.sqrt(float(a.sum() / b.sum()))
    words = (
        f"RMSE {ratio:.3g} times the predecessor's on {len(b)} frames neither was trained on (typical frame "
        f"{math.exp(typical):.3g}): {'' if worse else 'not '}worse beyond noise"
    )
    return CommitteeComparison(worse, ratio, math.exp(typical), len(b), groups, words)


def _mean_and_error(values: FloatArray, unit: NDArray[np.intp]) -> tuple[float, float]:
    """Mean over frames and its standard error, walkers being the independent units."""
    mean = float(values.mean())
    sums = _sums(values - mean, unit)
    n = len(sums)
    return mean, math.sqrt(float(sums @ sums) * n / (n - 1)) / len(values)


def _sums(values: FloatArray, unit: NDArray[np.intp]) -> FloatArray:
    return np.bincount(unit, values).astype(np.float64)


def _chance_of_ratio(after: FloatArray, before: FloatArray) -> float:
    """Share of exchanges (all of them, or 4096 at random) in which Σ after is as large as it is, itself included."""
    n = len(after)
    if n <= _EXHAUSTIVE:
        exchanged = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    else:
        exchanged = np.random.default_rng(0).integers(0, 2, (2**_EXHAUSTIVE, n))
        exchanged[0] = 0
    total = after.sum() + exchanged @ (before - after)
    return float((total >= after.sum() * (1 - 1e-12)).mean())


def _squares(name: str, values: ArrayLike) -> FloatArray:
    array = np.asarray(values, dtype=np.float64).ravel()
    bad = array[~(np.isfinite(array) & (array >= 0))]
    if len(bad):
        raise InputError(f"squared errors {name}: {bad[0]} must be finite and not negative. Leave failed frames out.")
    return array
