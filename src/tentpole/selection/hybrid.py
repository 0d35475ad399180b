"""Hybrid: disagreement and distance in one score, one candidate after another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from typing_extensions import override

from tentpole.errors import InputError
from tentpole.records import FloatArray
from tentpole.selection.base import Candidates, Labelled, Pick, SelectionRule


@dataclass(frozen=True, slots=True)
class Hybrid(SelectionRule):
    """weight · σ + (1 − weight) · distance, both scaled to 0..1 over the candidates.

    The distance is Euclidean, in features, to the nearest labelled or already chosen configuration; where
    there is none yet, to the candidates' mean. Both scales are set once, before the first choice.

    Parameters
    ----------
    weight : float
        0 to 1.

    Raises
    ------
    InputError
        For a weight outside 0 to 1.

    Examples
    --------
    >>> import numpy as np
    >>> from tentpole.selection import Candidates, Hybrid, Labelled
    >>> sigma, features = np.array([0.1, 0.4, 0.2]), np.array([[0.0], [0.1], [3.0]])
    >>> candidates = Candidates(["a", "b", "c"], sigma, features, ["300 K"] * 3)
    >>> picks = Hybrid(weight=0.6).select(candidates, Labelled(np.array([[0.0]])), 1, np.random.default_rng(0))
    >>> picks[0].id
    'b'
    """

    weight: float = 0.6

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise InputError(f"weight must lie in 0..1 (1: σ alone, 0: distance alone), got {self.weight}.")

    @override
    def select(self, candidates: Candidates, labelled: Labelled, k: int, rng: np.random.Generator) -> list[Pick]:
        k = min(max(k, 0), len(candidates))
        if k == 0:
            return []
        features = candidates.features
        none_yet = len(labelled.features) == 0
        known = features.mean(axis=0, keepdims=True) if none_yet else labelled.features
        distance = _nearest(features, known)
        sigma = _unit(candidates.sigma)
        low, span = float(distance.min()), float(np.ptp(distance)) or 1.0
        free = np.ones(len(candidates), dtype=bool)
        picks: list[Pick] = []
        while len(picks) < k:
            far = np.clip((distance - low) / span, 0.0, 1.0)
            score = self.weight * sigma + (1 - self.weight) * far
            i = int(np.argmax(np.where(free, score, -np.inf)))
            free[i] = False
            scores = {
                "sigma": float(candidates.sigma[i]),
                "distance": float(distance[i]),
                "score": float(score[i]),
            }
            reason = (
                f"score {score[i]:.3f} = {self.weight:g} × σ {sigma[i]:.3f} "
                f"+ {1 - self.weight:g} × distance {far[i]:.3f}, both scaled to 0..1"
            )
            picks.append(Pick(i, candidates.ids[i], scores, reason))
            to_pick = np.sqrt(((features - features[i]) ** 2).sum(axis=1))
            distance = to_pick if none_yet and len(picks) == 1 else np.minimum(distance, to_pick)
            if none_yet and len(picks) == 1:
                low, span = 0.0, float(distance.max()) or 1.0
        return picks


def _unit(values: FloatArray) -> FloatArray:
    span = float(np.ptp(values))
    return (values - values.min()) / span if span > 0 else np.zeros_like(values)


def _nearest(features: FloatArray, known: FloatArray) -> FloatArray:
    """(n,) distance of each row to the nearest of `known`."""
    from scipy.spatial import cKDTree

    return np.asarray(cKDTree(known).query(features)[0])
