"""Log-det gain: the candidates that widen the dataset's fingerprints most, with a quota per condition.

Without quotas the rule takes three frames of four from the hottest walkers, and forces get worse for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from typing_extensions import override

from tentpole.entropy.covariance import Blocks, Covariance, Method
from tentpole.errors import InputError, unknown
from tentpole.selection.base import Candidates, Labelled, Pick, SelectionRule

Quota = int | Literal["even", "none"]

EPS = 1e-3
"""ε of a covariance made from features, where none is given."""


@dataclass(frozen=True, slots=True)
class LogDet(SelectionRule):
    """Greedy gain with quotas.

    Parameters
    ----------
    method : {"exact", "information", "cholesky"}
        Normalised H, every candidate at every choice; its submodular form, lazily; or that form for one row per
        candidate. See tentpole.entropy.greedy_choice.
    quota : int, "even" or "none"
        At most this many per condition; "even": an equal share each, what some cannot fill going to the others.
    floor : float, optional
        Stop when the best gain left is below it.
    eps : float, optional
        ε of the gain's covariance, a variance in squared units of the fingerprint, in place of the one that the
        labelled set's covariance carries (1e-3 where there is none).
    """

    method: Method = "exact"
    quota: Quota = "even"
    floor: float | None = None
    eps: float | None = None

    def __post_init__(self) -> None:
        check_quota(self.quota)

    @override
    def select(self, candidates: Candidates, labelled: Labelled, k: int, rng: np.random.Generator) -> list[Pick]:
        covariance, batch = fingerprints(candidates, labelled, self.eps)
        floor = -np.inf if self.floor is None else self.floor
        return greedy_picks(candidates, covariance, batch, k, self.method, self.quota, floor)


def check_quota(quota: Quota) -> None:
    """Raises InputError for what is no quota."""
    if isinstance(quota, str):
        if quota not in ("even", "none"):
            raise unknown("quota", quota, ["even", "none"])
    elif quota < 1:
        raise InputError(f'quota must be at least 1 frame per condition, "even" or "none", got {quota}.')


def fingerprints(candidates: Candidates, labelled: Labelled, eps: float | None) -> tuple[Covariance, Blocks]:
    """The covariance to gain on, with `eps` where that is given, and the candidates' rows as it takes them."""
    covariance = labelled.covariance
    if covariance is None:
        covariance = Covariance("per-config", EPS if eps is None else eps, size=candidates.features.shape[1])
        for row in labelled.features:
            covariance.add(row)
    elif eps is not None and eps != covariance.eps:
        covariance = covariance.with_eps(eps)
    batch: Blocks = candidates.features if candidates.rows is None else candidates.rows
    return covariance, batch


def greedy_picks(
    candidates: Candidates,
    covariance: Covariance,
    batch: Blocks,
    k: int,
    method: Method,
    quota: Quota,
    floor: float,
    why: str = "",
    among: Sequence[int] | None = None,
) -> list[Pick]:
    """Greedy picks with their reasons. `among`: the candidates that may be chosen; None: all."""
    from tentpole.entropy.greedy_choice import even_quota, greedy  # compiled: takes a second

    index = list(range(len(candidates))) if among is None else list(among)
    if not index or k <= 0:
        return []
    part = batch[index] if isinstance(batch, np.ndarray) else [batch[i] for i in index]
    groups = [candidates.conditions[i] for i in index]
    cap = even_quota(groups, k) if quota == "even" else quota if isinstance(quota, int) else None
    chosen = greedy(covariance, part, k, method=method, groups=groups, quotas=cap, floor=floor)
    taken: dict[str, int] = {}
    picks = []
    for place, (at, gain) in enumerate(chosen, start=1):
        i = index[at]
        condition = candidates.conditions[i]
        taken[condition] = taken.get(condition, 0) + 1
        share = "" if cap is None else f"; {taken[condition]} of at most {cap} from {condition}"
        scores = {"sigma": float(candidates.sigma[i]), "gain": gain}
        reason = f"{why}gain {gain:.4g} is the highest left at choice {place}{share}"
        picks.append(Pick(i, candidates.ids[i], scores, reason))
    return picks
