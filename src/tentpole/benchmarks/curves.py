"""A learning curve and a ratio to a baseline, as all studies tell them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import trapezoid

from tentpole.records import FloatArray


@dataclass(frozen=True, slots=True)
class Curve:
    """One rule or policy: values (seeds, points) of a measure at n (points,) training frames."""

    rule: str
    n: NDArray[np.int64]
    seeds: tuple[int, ...]
    values: FloatArray

    @property
    def mean(self) -> FloatArray:
        """Over the seeds."""
        return np.asarray(self.values.mean(axis=0))

    @property
    def band(self) -> tuple[FloatArray, FloatArray]:
        """Lowest and highest over the seeds."""
        return self.values.min(axis=0), self.values.max(axis=0)

    @property
    def areas(self) -> FloatArray:
        """Per seed, the area under the curve over n, divided by its width: a mean error, in the measure's unit."""
        width = float(self.n[-1] - self.n[0])
        return np.asarray(trapezoid(self.values, self.n, axis=1) / width if width else self.values[:, 0])


@dataclass(frozen=True, slots=True)
class Ratio:
    """Geometric mean over seeds of a figure of a rule or policy over the baseline's, with a 95 % interval.

    `what` says at which size, or over which; NaN bounds where nothing is known of them.
    """

    rule: str
    what: str
    ratio: float
    low: float
    high: float
    seeds: int

    def to_json(self) -> dict[str, Any]:
        """For a study's summary.json: None for what is not known, as JSON has no NaN."""
        row = asdict(self)
        return {
            key: None if isinstance(value, float) and not np.isfinite(value) else value for key, value in row.items()
        }
