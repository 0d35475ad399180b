"""Random choice: the baseline that every other rule has to beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from typing_extensions import override

from tentpole.selection.base import Candidates, Labelled, Pick, SelectionRule


@dataclass(frozen=True, slots=True)
class Random(SelectionRule):
    """k candidates, each set of k as likely as any other.

    Examples
    --------
    >>> import numpy as np
    >>> from tentpole.selection import Candidates, Labelled, Random
    >>> sigma, features = np.array([0.1, 0.4, 0.2]), np.array([[0.0], [0.1], [3.0]])
    >>> candidates = Candidates(["a", "b", "c"], sigma, features, ["300 K"] * 3)
    >>> picks = Random().select(candidates, Labelled(np.array([[0.0]])), 1, np.random.default_rng(0))
    >>> picks[0].id
    'c'
    """

    @override
    def select(self, candidates: Candidates, labelled: Labelled, k: int, rng: np.random.Generator) -> list[Pick]:
        n = len(candidates)
        chosen = rng.choice(n, size=min(max(k, 0), n), replace=False)
        reason = f"drawn at random from {n}"
        return [Pick(int(i), candidates.ids[i], {"sigma": float(candidates.sigma[i])}, reason) for i in chosen]
