"""Query by committee: where the members disagree most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from typing_extensions import override

from tentpole.selection.base import Candidates, Labelled, Pick, SelectionRule


@dataclass(frozen=True, slots=True)
class Uncertainty(SelectionRule):
    """The k candidates of the highest σ; of equal ones the first.

    Examples
    --------
    >>> import numpy as np
    >>> from tentpole.selection import Candidates, Labelled, Uncertainty
    >>> sigma, features = np.array([0.1, 0.4, 0.2]), np.array([[0.0], [0.1], [3.0]])
    >>> candidates = Candidates(["a", "b", "c"], sigma, features, ["300 K"] * 3)
    >>> picks = Uncertainty().select(candidates, Labelled(np.array([[0.0]])), 1, np.random.default_rng(0))
    >>> picks[0].id
    'b'
    """

    @override
    def select(self, candidates: Candidates, labelled: Labelled, k: int, rng: np.random.Generator) -> list[Pick]:
        order = np.argsort(-candidates.sigma, kind="stable")[: max(k, 0)]
        return [
            Pick(
                int(i),
                candidates.ids[i],
                {"sigma": float(candidates.sigma[i])},
                f"σ {candidates.sigma[i]:.4g} is number {place} of {len(candidates)}",
            )
            for place, i in enumerate(order, start=1)
        ]
