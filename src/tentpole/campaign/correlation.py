"""How many frames of a trajectory tell as much as one that is independent of the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

NEGLIGIBLE = 0.05
"""Autocorrelation at which the sum ends: what lies beyond is noise in series of a few hundred values."""


def statistical_inefficiency(series: Sequence[ArrayLike]) -> float:
    """Frames that are worth one independent frame.

    g = 1 + 2 Σ_k ρ(k), with ρ(k) the autocorrelation at a distance of k frames, of all series about their common mean,
    summed up to the first that is negligible (Chodera, Swope, Pitera, Seok and Dill, J. Chem. Theory Comput. 3, 26,
    2007). A series too short for its own memory tells too small a g.

    Parameters
    ----------
    series : sequence of array-like
        Values at equal distances in time, one series for each trajectory; finite.

    Returns
    -------
    float
        At least 1, and at most the length of the longest series.

    Examples
    --------
    >>> from tentpole.campaign.correlation import statistical_inefficiency
    >>> statistical_inefficiency([[1.0, 2.0, 1.0, 2.0]])
    1.0
    """
    values = [np.asarray(one, dtype=np.float64) for one in series if len(np.atleast_1d(one)) > 1]
    if not values:
        return 1.0
    mean = np.concatenate(values).mean()
    about = [one - mean for one in values]
    variance = float(np.concatenate(about).var())
    if variance == 0.0:
        return 1.0
    longest, g = max(len(one) for one in about), 1.0
    for lag in range(1, longest):
        products = np.concatenate([one[:-lag] * one[lag:] for one in about if len(one) > lag])
        rho = float(products.mean()) / variance
        if rho <= NEGLIGIBLE:
            break
        g += 2.0 * rho
    return min(g, float(longest))
