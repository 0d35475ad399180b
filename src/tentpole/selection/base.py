"""The one protocol of every selection rule, and the columns a rule may look at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tentpole.records import FloatArray

if TYPE_CHECKING:
    from tentpole.entropy import Covariance


def mean_rows(rows: Sequence[FloatArray]) -> FloatArray:
    """(m, d) means over atoms of m configurations' fingerprint rows (N_i, d)."""
    return np.array([block.mean(axis=0) for block in rows])


@dataclass(frozen=True, slots=True)
class Candidates:
    """n candidates as columns. Failed and non-finite ones are left out by whoever builds this table.

    Parameters
    ----------
    ids : sequence of str
        n names.
    sigma : (n,) array
        Disagreement, in units of error where it is calibrated (eV/Å in a campaign).
    features : (n, d) array
        One row per candidate: mean fingerprint, or descriptors of a database entry.
    conditions : sequence of str
        n group names; quotas count by them. A single repeated name means no groups.
    rows : sequence of (N_i, d) arrays, optional
        Fingerprint rows of each candidate for per-atom log-det; None: `features` are the rows.

    Raises
    ------
    ValueError
        Where the columns are of different lengths or not finite.
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

    @staticmethod
    def of_rows(
        ids: Sequence[str], sigma: ArrayLike, rows: Sequence[FloatArray], conditions: Sequence[str]
    ) -> Candidates:
        """The table of candidates with fingerprint rows, whose means are the features.

        Parameters
        ----------
        ids : sequence of str
            n names.
        sigma : (n,) array_like
            Disagreement.
        rows : sequence of (N_i, d) arrays
            Fingerprint rows of each candidate.
        conditions : sequence of str
            n group names.

        Returns
        -------
        Candidates

        Examples
        --------
        >>> import numpy as np
        >>> from tentpole.selection import Candidates
        >>> Candidates.of_rows(["a", "b"], [0.1, 0.2], [np.ones((4, 2)), np.zeros((6, 2))], ["300 K"] * 2).features
        array([[1., 1.],
               [0., 0.]])
        """
        return Candidates(ids, np.asarray(sigma, dtype=float), mean_rows(rows), conditions, rows)


@dataclass(frozen=True, slots=True)
class Labelled:
    """What has been labelled already, as a rule needs it.

    Parameters
    ----------
    features : (m, d) array
        One row per labelled configuration.
    conditions : sequence of str
        Their group names, or () where none are known.
    covariance : Covariance, optional
        Of the fingerprint rows; None: the rule builds one from `features`.

    Examples
    --------
    Frames that will be labelled whatever the rule says (audit frames, for one) join before it chooses:

    >>> import numpy as np
    >>> from tentpole.selection import Labelled
    >>> known = Labelled(np.array([[0.0, 0.0], [2.0, 0.0]]))
    >>> len(known.joined(np.array([[1.0, 1.0]])).features), len(known.features)
    (3, 2)
    """

    features: FloatArray
    conditions: Sequence[str] = ()
    covariance: Covariance | None = None

    @staticmethod
    def of_rows(rows: Sequence[FloatArray], conditions: Sequence[str], covariance: Covariance, d: int = 0) -> Labelled:
        """The set of configurations with fingerprint rows, whose means are the features.

        Parameters
        ----------
        rows : sequence of (N_i, d) arrays
            Fingerprint rows of each configuration.
        conditions : sequence of str
            Their group names, or ().
        covariance : Covariance
            Of all of the rows.
        d : int
            Length of a row, where there is no configuration.

        Returns
        -------
        Labelled
        """
        return Labelled(mean_rows(rows) if len(rows) else np.zeros((0, d)), conditions, covariance)

    def joined(
        self, features: FloatArray, rows: Sequence[FloatArray] | None = None, conditions: Sequence[str] = ()
    ) -> Labelled:
        """Join configurations to this set, such as the audit frames of the batch that is being chosen.

        Parameters
        ----------
        features : (a, d) array
            One row per configuration that joins.
        rows : sequence of (N_i, d) arrays, optional
            Their fingerprint rows for the covariance; None: `features` are the rows.
        conditions : sequence of str
            Their group names; left out where this set has none.

        Returns
        -------
        Labelled
            With a covariance of its own: this set's stays as it is.
        """
        if not len(features):
            return self
        covariance = self.covariance
        if covariance is not None:
            covariance = covariance.copy()
            for block in features if rows is None else rows:
                covariance.add(block)
        together = np.concatenate([self.features, features]) if len(self.features) else np.asarray(features)
        named = (*self.conditions, *conditions) if len(self.conditions) == len(self.features) else self.conditions
        return replace(self, features=together, conditions=named, covariance=covariance)


@dataclass(frozen=True, slots=True)
class Keys:
    """Which of n candidates pass which key of a rule that has two.

    Parameters
    ----------
    threshold : float
        Lowest σ that passes the first key.
    floor : float
        Lowest gain that passes the second key; -inf where the gain only ranks.
    uncertain, new : (n,) bool arrays
        What passes the first key, and what passes the second.
    gains : (n,) array
        Log-det gain of each candidate on its own.
    """

    threshold: float
    floor: float
    uncertain: NDArray[np.bool_]
    new: NDArray[np.bool_]
    gains: FloatArray

    def words(self, i: int, sigma: float) -> str:
        """What candidate i passes and what it fails, in words.

        Parameters
        ----------
        i : int
            Its place.
        sigma : float
            Its disagreement.

        Returns
        -------
        str
        """
        first = "passes" if self.uncertain[i] else "fails"
        said = f"{first} the first key (σ {sigma:.4g}, lowest of the shortlist {self.threshold:.4g})"
        if self.floor == -math.inf:
            return f"{said}; gain {self.gains[i]:.4g} ranks it"
        second = "passes" if self.new[i] else "fails"
        return f"{said}; {second} the second (gain {self.gains[i]:.4g}, floor {self.floor:.4g})"


@dataclass(frozen=True, slots=True)
class Funnel:
    """How many candidates are left after each key of a rule.

    Parameters
    ----------
    candidates : int
        All that the rule looked at.
    uncertain : int
        Of those, how many pass the first key (all, for a rule without keys).
    new : int
        Of those, how many pass the second key as well.
    picked : int
        Of those, how many were chosen.
    threshold, floor : float, optional
        Lowest σ (eV/Å in a campaign) and lowest gain that pass; None for a rule without keys, or where the gain only
        ranks.

    Examples
    --------
    >>> from tentpole.selection import Funnel
    >>> print(Funnel(160, 112, 112, 27))
    160 candidates → 112 uncertain → 27 picked
    """

    candidates: int
    uncertain: int
    new: int
    picked: int
    threshold: float | None = None
    floor: float | None = None

    def __str__(self) -> str:
        first = "" if self.uncertain == self.candidates else f" → {self.uncertain} uncertain"
        second = "" if self.new == self.uncertain else f" → {self.new} also new"
        return f"{self.candidates} candidates{first}{second} → {self.picked} picked"


@dataclass(frozen=True, slots=True)
class Pick:
    """One chosen candidate.

    Parameters
    ----------
    index : int
        Its place among the candidates.
    id : str
        Its name.
    scores : dict of str to float
        What it was chosen by.
    reason : str
        Why, in words.
    """

    index: int
    id: str
    scores: dict[str, float]
    reason: str


@runtime_checkable
class SelectionRule(Protocol):
    """Chooses at most k of the candidates. Pure: same arguments and generator state, same picks.

    A rule may return fewer than k when no more are worth a label; it never returns one twice.
    """

    def select(self, candidates: Candidates, labelled: Labelled, k: int, rng: np.random.Generator) -> list[Pick]:
        """Choose among `candidates` what is worth a label beside what is `labelled`.

        Parameters
        ----------
        candidates : Candidates
            What may be chosen.
        labelled : Labelled
            What is known, or will be whatever this rule says.
        k : int
            At most so many are chosen.
        rng : numpy.random.Generator
            Of what the rule draws at random.

        Returns
        -------
        list of Pick
            In the order of choice.
        """
        ...


@runtime_checkable
class KeyedRule(SelectionRule, Protocol):
    """A rule that admits candidates by keys before it chooses among them, and can say who passes which."""

    @property
    def warning(self) -> str:
        """What a user of these settings should know; "" where there is nothing."""
        ...

    def keys(self, candidates: Candidates, labelled: Labelled, k: int) -> Keys:
        """Which candidates pass which key, were k of them wanted.

        Parameters
        ----------
        candidates : Candidates
            What may be chosen.
        labelled : Labelled
            What is known.
        k : int
            How many are wanted.

        Returns
        -------
        Keys
        """
        ...


def funnel_of(rule: SelectionRule, candidates: Candidates, labelled: Labelled, k: int, picked: int) -> Funnel:
    """How many of the candidates passed each key of a rule.

    Parameters
    ----------
    rule : SelectionRule
        One without keys lets all pass.
    candidates : Candidates
        What it chose among.
    labelled : Labelled
        What was known.
    k : int
        How many were wanted.
    picked : int
        How many it chose.

    Returns
    -------
    Funnel
    """
    if not isinstance(rule, KeyedRule) or not len(candidates):
        return Funnel(len(candidates), len(candidates), len(candidates), picked)
    keys = rule.keys(candidates, labelled, k)
    return Funnel(
        len(candidates),
        int(keys.uncertain.sum()),
        int((keys.uncertain & keys.new).sum()),
        picked,
        threshold=float(keys.threshold),
        floor=float(keys.floor) if math.isfinite(keys.floor) else None,
    )
