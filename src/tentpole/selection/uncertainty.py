"""Query by committee: where the members disagree most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from typing_extensions import override

from tentpole.selection.base import Candidates, Labelled, Pick, SelectionRule


@dataclass(frozen=True, slots=True)
class Uncertainty(SelectionRule):
    """The k candidates of the highest σ; of equal ones the first."""

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
