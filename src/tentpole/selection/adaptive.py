"""Adaptive: the candidates that teach most about all the others, σ counting more as the pool gets known.

A Gaussian process over the features, with unit prior variance and a Matérn-5/2 kernel, says how much a label
at j would lower the variance everywhere (Cohn, Ghahramani and Jordan, J. Artif. Intell. Res. 4, 129 (1996)):

    gain_j = Σ_i w_i C_ij² / (C_jj + noise),    w_i = σ_i^β / Σ σ^β,    C = K − K_l (K_ll + noise)⁻¹ K_lᵀ

C is the covariance given the labelled rows l. It needs no targets, and prefers neither outliers (their C_ij
are small) nor crowds that are known already. The weights are where uncertainty enters, and

    β = 1 − mean_i C_ii,

the share of the pool's variance that the labels explain, is the balance. With few labels β is near 0: a
committee that has seen little is no guide, and coverage alone decides; it goes to 1 as the labels cover the
pool, and then the regions on which the committee disagrees count most. That little data wants typical examples
and much data uncertain ones is known from classification (Hacohen, Dekel and Weinshall, ICML 2022).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from typing_extensions import override

from tentpole.errors import InputError
from tentpole.records import FloatArray
from tentpole.selection.base import Candidates, Labelled, Pick, SelectionRule


@dataclass(frozen=True, slots=True)
class Adaptive(SelectionRule):
    """Greedy weighted variance reduction with a balance that sets itself.

    Parameters
    ----------
    length : float
        The kernel's length in units of √d, features scaled to unit standard deviation.
    noise : float
        Variance of a label's noise and of what the features cannot tell, in units of the prior's.
    sample : int
        Candidates drawn at random to stand for all, where there are more; choices are made among them.

    Raises
    ------
    InputError
        For a value that is not above 0.

    Examples
    --------
    >>> import numpy as np
    >>> from tentpole.selection import Adaptive, Candidates, Labelled
    >>> sigma, features = np.array([0.1, 0.4, 0.2]), np.array([[0.0], [0.1], [3.0]])
    >>> candidates = Candidates(["a", "b", "c"], sigma, features, ["300 K"] * 3)
    >>> picks = Adaptive().select(candidates, Labelled(np.array([[0.0]])), 1, np.random.default_rng(0))
    >>> picks[0].id
    'c'
    """

    length: float = 0.7
    noise: float = 0.1
    sample: int = 1500

    def __post_init__(self) -> None:
        for name in ("length", "noise", "sample"):
            if getattr(self, name) <= 0:
                raise InputError(f"{name} of the adaptive rule must be above 0, got {getattr(self, name)}.")

    @override
    def select(self, candidates: Candidates, labelled: Labelled, k: int, rng: np.random.Generator) -> list[Pick]:
        k = min(max(k, 0), len(candidates))
        if k == 0:
            return []
        among = np.arange(len(candidates))
        if len(among) > max(self.sample, k):
            among = np.sort(rng.choice(len(among), max(self.sample, k), replace=False))
        covariance = self._posterior(candidates.features[among], labelled.features)
        variance = np.diag(covariance).copy()
        beta = float(np.clip(1 - variance.mean(), 0, 1))
        weights = np.maximum(candidates.sigma[among], 1e-12) ** beta
        weights /= weights.sum()
        lowered = weights @ covariance**2  # of each candidate, Σ_i w_i C_ij²
        chosen = np.empty((k, len(among)))  # row m: the column by which choice m changed C, over its root
        free = np.ones(len(among), dtype=bool)
        picks: list[Pick] = []
        while len(picks) < k:
            m = len(picks)
            gains = lowered / (variance + self.noise)
            j = int(np.argmax(np.where(free, gains, -np.inf)))
            free[j] = False
            i = int(among[j])
            scores = {"sigma": float(candidates.sigma[i]), "gain": float(gains[j]), "beta": beta}
            reason = (
                f"lowers the pool's weighted variance by {gains[j]:.3g}, most of what is left at choice "
                f"{m + 1}; σ weighs with exponent {beta:.2f}, the share explained so far"
            )
            picks.append(Pick(i, candidates.ids[i], scores, reason))
            # C becomes C − u uᵀ; its squares' weighted sums follow from one product with the first C
            before = chosen[:m]
            u = (covariance[j] - before[:, j] @ before) / np.sqrt(variance[j] + self.noise)
            weighted = weights * u
            along = covariance @ weighted - (before @ weighted) @ before
            lowered += u * (u * float(weighted @ u) - 2 * along)
            variance -= u * u
            chosen[m] = u
        return picks

    def _posterior(self, features: FloatArray, known: FloatArray) -> FloatArray:
        """(n, n) covariance of the candidates given the labelled rows."""
        width = features.std(axis=0)
        width = np.where(width > 1e-12, width, 1.0) * np.sqrt(features.shape[1]) * self.length
        prior = matern(features / width, features / width)
        if len(known) == 0:
            return prior
        to_known = matern(known / width, features / width)
        among_known = matern(known / width, known / width) + self.noise * np.eye(len(known))
        return np.asarray(prior - to_known.T @ np.linalg.solve(among_known, to_known))


def matern(a: FloatArray, b: FloatArray) -> FloatArray:
    """Matérn-5/2 of lengths given in units of the kernel's: (1 + r + r²/3) exp(−r), r = √5 |a − b|."""
    squared = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * (a @ b.T)
    r = np.sqrt(5.0 * np.maximum(squared, 0.0))
    decay = np.exp(-r)
    r *= 1 + r / 3
    r += 1
    r *= decay
    return np.asarray(r)
