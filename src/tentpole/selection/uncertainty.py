"""Query by committee: where the members disagree most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tentpole.selection.base import Candidates, Labelled, Pick


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """The k candidates of the highest σ; of equal ones the first."""

    def select(self, candidates: Candidates, labelled: Labelled, k: int, rng: np.random.Generator) -> list[Pick]:
        """See SelectionRule."""
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
