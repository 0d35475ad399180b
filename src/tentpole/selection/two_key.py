"""Two keys: the committee must disagree and the dataset must gain before a frame is worth a label."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tentpole.entropy.greedy import Method
from tentpole.errors import InputError
from tentpole.selection.base import Candidates, Labelled, Pick
from tentpole.selection.logdet import Quota, check_quota, choose, fingerprints


@dataclass(frozen=True, slots=True)
class TwoKey:
    """σ at or above a threshold and gain at or above a floor, then greedy gain with quotas as in LogDet.

    sigma : threshold in σ's own unit (that of error where σ is calibrated); None: the candidates' median.
    shortlist : at most this many candidates per frame wanted, those of the highest σ, pass the first key; None: all
        that reach the threshold. With many candidates per label a median lets too much of what is known through.
    gain : floor of the gain. It tightens by itself as the dataset grows, gains going as 1/n.
    gain_of_median : floor as a multiple of the candidates' median gain; the higher of both floors counts. None: no
        such floor.
    A frame chosen earlier can bring the gain of a later one below the floor: it is then not chosen.
    """

    sigma: float | None = None
    shortlist: float | None = None
    gain: float = 0.01
    gain_of_median: float | None = None
    method: Method = "exact"
    quota: Quota = "even"
    eps: float = 1e-3

    def __post_init__(self) -> None:
        check_quota(self.quota)
        if self.shortlist is not None and not self.shortlist >= 1.0:
            raise InputError(f"shortlist must be at least 1 candidate per frame wanted, got {self.shortlist}.")

    def select(self, candidates: Candidates, labelled: Labelled, k: int, rng: np.random.Generator) -> list[Pick]:
        """See SelectionRule."""
        if not len(candidates):
            return []
        covariance, batch = fingerprints(candidates, labelled, self.eps)
        threshold = float(np.median(candidates.sigma)) if self.sigma is None else self.sigma
        most = len(candidates) if self.shortlist is None else math.ceil(self.shortlist * k)
        if 0 < most < len(candidates):
            threshold = max(threshold, float(np.partition(candidates.sigma, -most)[-most]))
        gains = covariance.gains(batch)
        floor = self.gain
        if self.gain_of_median is not None:
            floor = max(floor, self.gain_of_median * float(np.median(gains)))
        among = np.flatnonzero((candidates.sigma >= threshold) & (gains >= floor))
        why = f"σ at least {threshold:.4g}, gain at least {floor:.4g}: "
        picks = choose(candidates, covariance, batch, k, self.method, self.quota, floor, why, among.tolist())
        return [
            Pick(
                p.index,
                p.id,
                {**p.scores, "gain_alone": float(gains[p.index])},
                p.reason.replace("σ at least", f"σ {candidates.sigma[p.index]:.4g} at least", 1),
            )
            for p in picks
        ]
