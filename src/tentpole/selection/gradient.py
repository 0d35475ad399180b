"""Gradient kernel: the candidates of which one trained member can know least, given the labels and the picks so far.

To first order in its weights θ a member that is trained on further labels stays within E(x) + φ(x)·Δθ, with
φ(x) = ∂E(x)/∂θ. Under a broad prior for Δθ and noise λ the variance that is left at x once the set Φ is known is

    v(x) = λ φᵀ (ΦᵀΦ + λ)⁻¹ φ,

whatever the labels turn out to be: each pick joins Φ at once, so that a batch does not repeat itself. One member is
enough, where σ takes a committee. (Zaverkin et al., Digital Discovery 1, 605 (2022); Holzmüller et al., JMLR 24, 164
(2023).)

The largest v(x) is where least is known, which is often at the rim of what MD visits. What lowers the mean of v over
all candidates the most is closer to what it visits most: the gain of x is Σ_y C(x, y)² / (λ + v(x)), with C the
covariance that v is the diagonal of (Cohn, Ghahramani and Jordan, J. Artif. Intell. Res. 4, 129 (1996)).
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.linalg import solve_triangular

from tentpole.errors import InputError, unknown
from tentpole.records import FloatArray
from tentpole.selection.base import Candidates, Labelled, Pick
from tentpole.selection.clusters import LargestCluster
from tentpole.selection.logdet import Quota, check_quota


@dataclass(frozen=True, slots=True)
class Gradient:
    """Greedy largest posterior variance of a linear model of the features, given labels and picks.

    A campaign and a study give this rule, as features, the energy's derivatives with respect to the first member's
    weights, sketched to 512 components (see tentpole.entropy.GradientFeatures). σ is not looked at.

    Parameters
    ----------
    noise : float
        λ as a share of the candidates' mean squared length of a feature row.
    quota : int, "even" or "none"
        See LogDet.
    aim : {"largest", "mean", "cluster"}
        Pick where the variance is largest, what lowers its mean over the candidates the most, or the farthest of the
        largest cluster, which needs no noise (see tentpole.selection.clusters).

    Raises
    ------
    InputError
        For noise that is not positive, and what is no quota or no aim.

    Examples
    --------
    >>> import numpy as np
    >>> from tentpole.selection import Candidates, Gradient, Labelled
    >>> features = np.array([[3.0, 0.0], [0.0, 2.0], [0.0, 1.9], [2.9, 0.1]])
    >>> candidates = Candidates(list("abcd"), np.zeros(4), features, ["300 K"] * 4)
    >>> known = Labelled(np.array([[4.0, 0.0]]))  # the first direction is known
    >>> [pick.id for pick in Gradient().select(candidates, known, 1, np.random.default_rng(0))]
    ['b']
    """

    noise: float = 1e-3
    quota: Quota = "even"
    aim: Literal["largest", "mean", "cluster"] = "largest"

    def __post_init__(self) -> None:
        check_quota(self.quota)
        if self.aim not in _AIMS:
            raise unknown("aim", str(self.aim), _AIMS)
        if not (math.isfinite(self.noise) and self.noise > 0):
            raise InputError(f"noise of the rule gradient must be a positive number, got {self.noise}.")

    def select(self, candidates: Candidates, labelled: Labelled, k: int, rng: np.random.Generator) -> list[Pick]:  # noqa: ARG002
        """See SelectionRule."""
        k = min(max(k, 0), len(candidates))
        if k == 0:
            return []
        groups = list(candidates.conditions)
        from tentpole.entropy import even_quota  # compiled: takes a second

        caps = even_quota(groups, k) if self.quota == "even" else self.quota if isinstance(self.quota, int) else None
        lam = self.noise * float((candidates.features**2).sum(axis=1).mean()) or 1.0
        posterior = _AIMS[self.aim](candidates.features, labelled.features, lam)
        free, taken = np.ones(len(candidates), dtype=bool), Counter[str]()
        picks: list[Pick] = []
        while len(picks) < k and free.any():
            i = int(np.argmax(np.where(free, posterior.scores, -np.inf)))
            free[i] = False
            cap = caps if caps is None or isinstance(caps, int) else caps.get(groups[i])
            if cap is not None and taken[groups[i]] >= cap:
                continue
            taken[groups[i]] += 1
            score = float(posterior.scores[i])
            variance = float(posterior.variances[i])
            posterior.add(i)
            share = "" if cap is None else f"; {taken[groups[i]]} of at most {cap} from {groups[i]}"
            reason = f"{posterior.words(score / lam)} at choice {len(picks) + 1}"
            scores = {"sigma": float(candidates.sigma[i]), "variance": variance}
            picks.append(Pick(i, candidates.ids[i], scores, reason + share))
        return picks


class Posterior:
    """Variances λ φᵀ (ΦᵀΦ + λ)⁻¹ φ of n candidates, kept as members join Φ.

    features : (n, d), of the candidates. known : (m, d), Φ at first. lam : λ.
    """

    def __init__(self, features: FloatArray, known: FloatArray, lam: float) -> None:
        d = features.shape[1]
        gram = lam * np.eye(d) + (known.T @ known if len(known) else 0.0)
        self._white = solve_triangular(np.linalg.cholesky(gram), features.T, lower=True).T  # (n, d)
        self._lam, self._joined = lam, np.zeros((len(features), 0))
        self._left = np.einsum("nd,nd->n", self._white, self._white)

    @property
    def variances(self) -> FloatArray:
        """(n,), in units of the features' squares."""
        return np.asarray(self._lam * self._left)

    @property
    def scores(self) -> FloatArray:
        """(n,): the highest is picked."""
        return self.variances

    @staticmethod
    def words(score: float) -> str:
        """Why it is picked, its score in units of λ."""
        return f"variance {score:.4g} λ left by labels and picks is the highest"

    def add(self, i: int) -> None:
        """Candidate i joins Φ: (A + φφᵀ)⁻¹ = A⁻¹ − A⁻¹φφᵀA⁻¹ / (1 + φᵀA⁻¹φ), for all candidates at once."""
        shared = self._white @ self._white[i] - self._joined @ self._joined[i]
        column = shared / math.sqrt(1.0 + float(self._left[i]))
        self._joined = np.column_stack([self._joined, column])
        self._left = np.maximum(self._left - column**2, 0.0)


class MeanPosterior:
    """By how much each of n candidates would lower the sum of all their variances, kept as members join Φ.

    features : (n, d), of the candidates. known : (m, d), Φ at first. lam : λ. With P = (ΦᵀΦ + λ)⁻¹, V = FP and M = FᵀF
    the covariance is λFPFᵀ, and the gain of candidate j is λ V_j M V_jᵀ / (1 + v_j/λ): O(nd) per pick.
    """

    def __init__(self, features: FloatArray, known: FloatArray, lam: float) -> None:
        d = features.shape[1]
        gram = lam * np.eye(d) + (known.T @ known if len(known) else 0.0)
        self._features, self._lam = features, lam
        self._moment = features.T @ features
        self._solved = np.linalg.solve(gram, features.T).T  # V
        self._spread = self._solved @ self._moment  # V M

    @property
    def variances(self) -> FloatArray:
        """(n,), in units of the features' squares."""
        return np.asarray(self._lam * np.einsum("nd,nd->n", self._solved, self._features))

    @property
    def scores(self) -> FloatArray:
        """(n,): the gains, in units of the features' squares."""
        gains = np.einsum("nd,nd->n", self._spread, self._solved)
        return np.asarray(self._lam * gains / (1.0 + self.variances / self._lam))

    @staticmethod
    def words(score: float) -> str:
        """Why it is picked, its score in units of λ."""
        return f"lowers the summed variance of all candidates by {score:.4g} λ, the most"

    def add(self, i: int) -> None:
        """Candidate i joins Φ, by the same formula as in Posterior."""
        step = self._solved[i] / math.sqrt(1.0 + float(self.variances[i]) / self._lam)
        along = self._features @ step
        self._solved = self._solved - np.outer(along, step)
        self._spread = self._spread - np.outer(along, self._moment @ step)


_AIMS: dict[str, type[Posterior] | type[MeanPosterior] | type[LargestCluster]] = {
    "largest": Posterior,
    "mean": MeanPosterior,
    "cluster": LargestCluster,
}
"""What decides on a pick, by what the rule aims at."""
