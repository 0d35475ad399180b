"""Diversity: k-means in feature space, and of each cluster the candidate nearest to its centre."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from typing_extensions import override

from tentpole.records import FloatArray
from tentpole.selection.base import Candidates, Labelled, Pick, SelectionRule

_MANY = 20_000
"""Candidates beyond which k-means goes by mini-batches (scikit-learn): minutes become seconds."""


@dataclass(frozen=True, slots=True)
class Diversity(SelectionRule):
    """One candidate per cluster of k clusters. Looks at features alone, neither at σ nor at what is labelled.

    Parameters
    ----------
    starts : int
        k-means runs, the best of which counts.

    Examples
    --------
    >>> import numpy as np
    >>> from tentpole.selection import Candidates, Diversity, Labelled
    >>> sigma, features = np.array([0.1, 0.4, 0.2]), np.array([[0.0], [0.1], [3.0]])
    >>> candidates = Candidates(["a", "b", "c"], sigma, features, ["300 K"] * 3)
    >>> picks = Diversity().select(candidates, Labelled(np.array([[0.0]])), 1, np.random.default_rng(0))
    >>> picks[0].id
    'b'
    """

    starts: int = 1

    @override
    def select(self, candidates: Candidates, labelled: Labelled, k: int, rng: np.random.Generator) -> list[Pick]:
        k = min(max(k, 0), len(candidates))
        if k == 0:
            return []
        centres, sizes = _clusters(candidates.features, k, self.starts, int(rng.integers(2**31)))
        free = np.ones(len(candidates), dtype=bool)
        picks = []
        for centre, size in zip(centres, sizes, strict=True):
            distance = np.sqrt(((candidates.features - centre) ** 2).sum(axis=1))
            i = int(np.argmin(np.where(free, distance, np.inf)))
            free[i] = False
            scores = {"sigma": float(candidates.sigma[i]), "distance": float(distance[i])}
            reason = f"nearest to the centre of a cluster of {size} (of {k} clusters)"
            picks.append(Pick(i, candidates.ids[i], scores, reason))
        return picks


def _clusters(features: FloatArray, k: int, starts: int, seed: int) -> tuple[FloatArray, np.ndarray]:
    """Find k centres and their clusters' sizes. Fewer distinct points than k leave some centres doubled."""
    import warnings

    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    kind = MiniBatchKMeans if len(features) > _MANY else KMeans
    # several threads add up their parts of a centre in the order in which they finish: its last bit is chance
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)  # doubled points: distinct ones are picked
        fitted = kind(n_clusters=k, n_init=starts, random_state=seed).fit(features)
    return fitted.cluster_centers_, np.bincount(fitted.labels_, minlength=k)
