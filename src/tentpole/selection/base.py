"""The one protocol of every selection rule, and the columns a rule may look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from tentpole.records import FloatArray

if TYPE_CHECKING:
    from tentpole.entropy import Covariance


@dataclass(frozen=True, slots=True)
class Candidates:
    """n candidates as columns. Failed and non-finite ones are left out by whoever builds this table.

    ids : n names.
    sigma : (n,) disagreement, in units of error where it is calibrated.
    features : (n, d) one row per candidate: mean fingerprint, or descriptors of a database entry.
    conditions : n group names; quotas count by them. A single repeated name means no groups.
    rows : per candidate its (N_i, d) fingerprint rows for per-atom log-det; None: `features` are the rows.
    """

    ids: Sequence[str]
    sigma: FloatArray
    features: FloatArray
    conditions: Sequence[str]
    rows: Sequence[FloatArray] | None = None

    def __post_init__(self) -> None:
        n = len(self.ids)
        if self.sigma.shape != (n,) or self.features.ndim != 2 or len(self.features) != n:
            raise ValueError(
                f"{n} ids need sigma ({n},) and features ({n}, d), got {self.sigma.shape} and {self.features.shape}"
            )
        if len(self.conditions) != n or (self.rows is not None and len(self.rows) != n):
            raise ValueError(f"{n} ids need {n} conditions and, if given, {n} row blocks")
        if not (np.isfinite(self.sigma).all() and np.isfinite(self.features).all()):
            raise ValueError("sigma and features must be finite: leave failed candidates out")

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Labelled:
    """What has been labelled already, as a rule needs it: features (m, d), conditions, and the covariance
    of the fingerprint rows (None: the rule builds one from `features`)."""

    features: FloatArray
    conditions: Sequence[str] = ()
    covariance: Covariance | None = None


@dataclass(frozen=True, slots=True)
class Pick:
    """One chosen candidate: its index and id, the scores it was chosen by, and the reason in words."""

    index: int
    id: str
    scores: dict[str, float]
    reason: str


@runtime_checkable
class SelectionRule(Protocol):
    """Chooses at most k of the candidates. Pure: same arguments and generator state, same picks.

    A rule may return fewer than k when no more are worth a label; it never returns one twice.
    """

    def select(self, candidates: Candidates, labelled: Labelled, k: int, rng: np.random.Generator) -> list[Pick]: ...
