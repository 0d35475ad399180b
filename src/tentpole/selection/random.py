"""Random choice: the baseline that every other rule has to beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tentpole.selection.base import Candidates, Labelled, Pick


@dataclass(frozen=True, slots=True)
class Random:
    """k candidates, each set of k as likely as any other."""

    def select(self, candidates: Candidates, labelled: Labelled, k: int, rng: np.random.Generator) -> list[Pick]:
        """See SelectionRule."""
        n = len(candidates)
        chosen = rng.choice(n, size=min(max(k, 0), n), replace=False)
        reason = f"drawn at random from {n}"
        return [Pick(int(i), candidates.ids[i], {"sigma": float(candidates.sigma[i])}, reason) for i in chosen]
