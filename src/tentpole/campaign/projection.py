"""How many labels are still to come before an error target is met, with its uncertainty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from tentpole.errors import InputError
from tentpole.records import FloatArray

CONFIDENCE = 0.8
FEWEST = 3
_FARTHEST = 1e9


@dataclass(frozen=True, slots=True)
class Projection:
    """Labels still to come until the fitted error reaches the target.

    more : best estimate, None where nothing can be projected. low, high : confidence interval; high None where the
    data do not exclude that the target is never reached. exponent : b in error ∝ labels^(−b). rounds : fitted ones.
    """

    more: int | None
    low: int | None
    high: int | None
    exponent: float | None
    rounds: int
    confidence: float
    why_not: str = ""

    @property
    def words(self) -> str:
        """The projection in a sentence."""
        if self.more is None:
            return f"labels still to come: not projected, {self.why_not}"
        if self.more == 0 and self.high == 0:
            return f"labels still to come: none, the fit of {self.rounds} rounds is within the target"
        upper = "no upper limit" if self.high is None else f"{self.high}"
        return (
            f"labels still to come: about {self.more} ({self.low} to {upper}, {100 * self.confidence:g} % confidence; "
            f"error ∝ labels^{-(self.exponent or 0.0):.2f} over {self.rounds} rounds)"
        )


def project_labels(
    labels: Sequence[int], errors: ArrayLike, target: float, *, confidence: float = CONFIDENCE
) -> Projection:
    """Where a power law through the rounds meets the target: ln error = a − b ln N, N* = exp((a − ln target)/b).

    The interval is Fieller's for the abscissa of a regression line (J. R. Stat. Soc. B 16, 175, 1954): all N at which
    the line's confidence band contains the target. Its upper end is open where the slope cannot be told from zero.

    Parameters
    ----------
    labels : labels that each round's committee was trained on, increasing. errors : (n,) its error on frames it was
        not trained on, in the unit of `target`. The last entry is the present.
    target : error to be reached; divide it by the factor that a bound will need to project the verdict itself.

    Raises
    ------
    InputError : lengths differ, or a value is not finite and above zero.

    >>> project_labels([50, 100, 200, 400], [0.08, 0.04, 0.02, 0.01], 0.005).more
    400
    """
    n = _positive("labels", labels)
    e = _positive("errors", errors)
    _positive("target", [target])
    if len(n) != len(e):
        raise InputError(f"{len(n)} numbers of labels and {len(e)} errors: one error per round is needed")
    if not 0.0 < confidence < 1.0:
        raise InputError(f"confidence = {confidence} must lie between 0 and 1")
    if len(n) < FEWEST or len(set(n)) < FEWEST:
        why = f"{len(set(n))} rounds with different numbers of labels, {FEWEST} are needed"
        return Projection(None, None, None, None, len(n), confidence, why)
    line = _Line.through(np.log(n), np.log(e), confidence)
    if line.fall <= 0:
        why = f"the error has not fallen over {len(n)} rounds"
        return Projection(None, None, None, line.fall, len(n), confidence, why)
    low, high = line.crossings(math.log(target))
    more = _labels(line.crossing(math.log(target)), n[-1])
    if more is None:
        why = f"the error falls too slowly, as labels^{-line.fall:.2g}"
        return Projection(None, None, None, line.fall, len(n), confidence, why)
    return Projection(more, _labels(low, n[-1]), _labels(high, n[-1]), line.fall, len(n), confidence)


@dataclass(frozen=True, slots=True)
class _Line:
    """y = mean_y − fall (x − mean_x); width : t² s², s² the residual variance."""

    fall: float
    mean_x: float
    mean_y: float
    spread_x: float
    width: float
    count: int

    @staticmethod
    def through(x: FloatArray, y: FloatArray, confidence: float) -> _Line:
        dx, dy = x - x.mean(), y - y.mean()
        spread = float(dx @ dx)
        fall = -float(dx @ dy) / spread
        free = len(x) - 2
        t = float(stdtrit(free, (1 + confidence) / 2))
        residual = dy + fall * dx
        return _Line(fall, float(x.mean()), float(y.mean()), spread, t**2 * float(residual @ residual) / free, len(x))

    def crossing(self, y: float) -> float:
        return self.mean_x + (self.mean_y - y) / self.fall

    def crossings(self, y: float) -> tuple[float, float]:
        """Lowest and highest x whose confidence band contains y; −inf and inf where there is no end.

        Roots d = x − mean_x of (D − b d)² = t² s² (1/n + d²/S) with D = mean_y − y.
        """
        above = self.mean_y - y
        lead = self.fall**2 - self.width / self.spread_x
        half = above * self.fall
        rest = above**2 - self.width / self.count
        root = half**2 - lead * rest
        if lead > 0:
            reach = math.sqrt(max(root, 0.0))
            return self.mean_x + (half - reach) / lead, self.mean_x + (half + reach) / lead
        if rest <= 0 or root < 0 or lead == 0:
            return -math.inf, math.inf
        return self.mean_x + (half - math.sqrt(root)) / lead, math.inf


def _labels(x: float, now: float) -> int | None:
    """Labels beyond `now` at ln N = x; 0 where it has been passed, None where it is out of reach."""
    if x <= math.log(now):
        return 0
    return None if x > math.log(_FARTHEST) else math.ceil(math.exp(x) - now - 1e-6)


def _positive(name: str, values: ArrayLike) -> FloatArray:
    array = np.asarray(values, dtype=np.float64).ravel()
    bad = array[~(np.isfinite(array) & (array > 0))]
    if len(bad):
        raise InputError(f"{name}: {bad[0]} must be finite and above 0. Leave rounds without a value out.")
    return array
