"""Two keys: a shortlist of the frames the committee disagrees about, and of those the ones that widen the dataset."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from typing_extensions import override

from tentpole.entropy.covariance import Method
from tentpole.errors import InputError
from tentpole.selection.base import Candidates, KeyedRule, Keys, Labelled, Pick
from tentpole.selection.logdet import Quota, check_quota, fingerprints, greedy_picks

SHORTLIST = 5.0
"""Candidates on the shortlist per frame wanted, where neither `shortlist` nor a floor of the gain is given."""


@dataclass(frozen=True, slots=True)
class TwoKey(KeyedRule):
    """A shortlist by σ, then greedy choice by log-det gain with quotas as in LogDet.

    The first key admits a frame to the shortlist. The gain ranks the frames of the shortlist and vetoes none: a
    normalised gain falls as 1/n with the size of the dataset, whatever the model's error, so that an absolute floor
    ends a campaign by the number of its labels. Redundancy is judged within the batch: every gain is taken given the
    frames already chosen, and a copy of one of them adds at most ln 2 per direction of the fingerprint.

    Parameters
    ----------
    sigma : float, optional
        Lowest σ of the shortlist, in the unit of the candidates' σ (that of error where σ is calibrated). None: the
        candidates' median.
    shortlist : float, optional
        At most this many candidates per frame wanted, those of the highest σ. None: 5, or all that reach `sigma`
        where a floor of the gain is given.
    gain : float, optional
        Floor of the gain, given what is already chosen. Kept for campaign files that state it; see `warning`.
    gain_of_median : float, optional
        Floor as a multiple of the candidates' median gain; of two floors the higher counts.
    method : {"exact", "information", "cholesky"}
        See LogDet.
    quota : int, "even" or "none"
        See LogDet.
    eps : float, optional
        ε of the gain's covariance, in place of the one that the labelled set's covariance carries.

    Raises
    ------
    InputError
        Where a quota or a shortlist cannot be one.

    Examples
    --------
    >>> import numpy as np
    >>> from tentpole.selection import Candidates, Labelled, TwoKey
    >>> features = np.array([[9.0, 0.0], [5.0, 0.0], [4.9, 0.0], [0.0, 3.0]])
    >>> candidates = Candidates(list("abcd"), np.array([0.01, 0.3, 0.4, 0.2]), features, ["300 K"] * 4)
    >>> known = Labelled(np.random.default_rng(0).normal(size=(20, 2)))
    >>> picks = TwoKey(sigma=0.1, quota="none").select(candidates, known, 2, np.random.default_rng(0))
    >>> [pick.id for pick in picks]  # a lies furthest out, but its σ is small; c is hardly another frame than b
    ['b', 'd']
    """

    sigma: float | None = None
    shortlist: float | None = None
    gain: float | None = None
    gain_of_median: float | None = None
    method: Method = "exact"
    quota: Quota = "even"
    eps: float | None = None

    def __post_init__(self) -> None:
        check_quota(self.quota)
        if self.shortlist is not None and not self.shortlist >= 1.0:
            raise InputError(f"shortlist must be at least 1 candidate per frame wanted, got {self.shortlist}.")
        for name in ("sigma", "gain", "gain_of_median"):
            if (value := getattr(self, name)) is not None and math.isnan(value):
                raise InputError(f"{name} of the rule two_key must be a number, got {value}.")

    @property
    @override
    def warning(self) -> str:
        """What a user of these settings should know; "" where there is nothing."""
        if self.gain is None or self.gain == -math.inf:
            return ""
        return (
            f"gain = {self.gain:g} is an absolute floor: gains fall as 1/n with the number of labels, whatever the "
            "model's error, so that it may stop labelling while errors are above the target. Leave it out: the gain "
            "then ranks the frames of highest σ."
        )

    @override
    def keys(self, candidates: Candidates, labelled: Labelled, k: int) -> Keys:
        """Which candidates pass which key, were k of them wanted. See SelectionRule and Keys."""
        covariance, batch = fingerprints(candidates, labelled, self.eps)
        sigma = candidates.sigma
        if not len(candidates):
            return Keys(math.nan, -math.inf, np.zeros(0, dtype=bool), np.zeros(0, dtype=bool), np.zeros(0))
        threshold = float(np.median(sigma)) if self.sigma is None else self.sigma
        most = self._most(len(candidates), k)
        if 0 < most < len(candidates):
            threshold = max(threshold, float(np.partition(sigma, -most)[-most]))
        gains = covariance.gains(batch)
        floor = -math.inf if self.gain is None else self.gain
        if self.gain_of_median is not None:
            floor = max(floor, self.gain_of_median * float(np.median(gains)))
        return Keys(threshold, floor, sigma >= threshold, gains >= floor, gains)

    @override
    def select(self, candidates: Candidates, labelled: Labelled, k: int, rng: np.random.Generator) -> list[Pick]:
        if not len(candidates):
            return []
        keys = self.keys(candidates, labelled, k)
        covariance, batch = fingerprints(candidates, labelled, self.eps)
        among = np.flatnonzero(keys.uncertain & keys.new).tolist()
        why = f"σ at least {keys.threshold:.4g}"
        why += ": " if keys.floor == -math.inf else f", gain at least {keys.floor:.4g}: "
        picks = greedy_picks(candidates, covariance, batch, k, self.method, self.quota, keys.floor, why, among)
        return [
            Pick(
                p.index,
                p.id,
                {**p.scores, "gain_alone": float(keys.gains[p.index])},
                p.reason.replace("σ at least", f"σ {candidates.sigma[p.index]:.4g} at least", 1),
            )
            for p in picks
        ]

    def _most(self, n: int, k: int) -> int:
        """Length of the shortlist for n candidates of which k are wanted."""
        floored = self.gain is not None or self.gain_of_median is not None
        per_frame = self.shortlist if self.shortlist is not None else math.inf if floored else SHORTLIST
        return n if per_frame == math.inf else min(n, math.ceil(per_frame * k))
