"""Largest cluster, largest distance: where many candidates lie far from all that is known, the farthest of them.

Labels and picks are centres, and each candidate belongs to the cluster of the one nearest to it. The cluster with the
largest sum of squared distances gives the pick: frames that MD visits often count more than a single far one, and those
near a centre hardly. (LCMD of Holzmüller et al., JMLR 24, 164 (2023).)
"""

from __future__ import annotations

import numpy as np

from tentpole.records import FloatArray


class LargestCluster:
    """Squared distances of n candidates to the nearest centre, kept as members join the centres.

    features : (n, d), of the candidates. known : (m, d), the first centres; with none, distances are to the origin.
    """

    def __init__(self, features: FloatArray, known: FloatArray, lam: float) -> None:  # noqa: ARG002 - as Posterior
        self._features, self._centres = features, 0
        self._squares = np.einsum("nd,nd->n", features, features)
        self._left, self._nearest = self._squares.copy(), np.zeros(len(features), dtype=np.int64)
        for row in known:
            self._join(row)

    @property
    def variances(self) -> FloatArray:
        """(n,): the squared distances."""
        return np.asarray(self._left)

    @property
    def scores(self) -> FloatArray:
        """(n,): the rank of a candidate's cluster, and within it, below 1, its squared distance."""
        sizes = np.bincount(self._nearest, weights=self._left)
        ranks = np.empty(len(sizes))
        ranks[np.argsort(sizes, kind="stable")] = np.arange(len(sizes))
        return np.asarray(ranks[self._nearest] + self._left / (2.0 * float(self._left.max()) or 1.0))

    @staticmethod
    def words(score: float) -> str:  # noqa: ARG004 - as Posterior
        """Why it is picked."""
        return "farthest from labels and picks in the cluster of the largest summed distance"

    def add(self, i: int) -> None:
        """Candidate i becomes a centre."""
        self._join(self._features[i])
        self._left[i] = 0.0

    def _join(self, row: FloatArray) -> None:
        distances = np.maximum(self._squares - 2.0 * (self._features @ row) + float(row @ row), 0.0)
        closer = distances < self._left if self._centres else np.ones(len(distances), dtype=bool)
        self._left, self._nearest = (
            np.where(closer, distances, self._left),
            np.where(closer, self._centres, self._nearest),
        )
        self._centres += 1
