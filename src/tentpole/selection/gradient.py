"""Gradient kernel: the candidates of which one trained member can know least, given the labels and the picks so far.

To first order in its weights θ a member that is trained on further labels stays within E(x) + φ(x)·Δθ, with
φ(x) = ∂E(x)/∂θ. Under a broad prior for Δθ and noise λ the variance that is left at x once the set Φ is known is

    v(x) = λ φᵀ (ΦᵀΦ + λ)⁻¹ φ,

whatever the labels turn out to be: each pick joins Φ at once, so that a batch does not repeat itself. One member is
enough, where σ takes a committee. (Zaverkin et al., Digital Discovery 1, 605 (2022); Holzmüller et al., JMLR 24, 164
(2023).)
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular

from tentpole.errors import InputError
from tentpole.records import FloatArray
from tentpole.selection.base import Candidates, Labelled, Pick
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

    Raises
    ------
    InputError
        For noise that is not positive, and what is no quota.

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

    def __post_init__(self) -> None:
        check_quota(self.quota)
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
        posterior = Posterior(candidates.features, labelled.features, lam)
        free, taken = np.ones(len(candidates), dtype=bool), Counter[str]()
        picks: list[Pick] = []
        while len(picks) < k and free.any():
            i = int(np.argmax(np.where(free, posterior.variances, -np.inf)))
            free[i] = False
            cap = caps if caps is None or isinstance(caps, int) else caps.get(groups[i])
            if cap is not None and taken[groups[i]] >= cap:
                continue
            taken[groups[i]] += 1
            variance = float(posterior.variances[i])
            posterior.add(i)
            share = "" if cap is None else f"; {taken[groups[i]]} of at most {cap} from {groups[i]}"
            reason = (
                f"variance {variance / lam:.4g} λ left by labels and picks is the highest at choice {len(picks) + 1}"
            )
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

    def add(self, i: int) -> None:
        """Candidate i joins Φ: (A + φφᵀ)⁻¹ = A⁻¹ − A⁻¹φφᵀA⁻¹ / (1 + φᵀA⁻¹φ), for all candidates at once."""
        shared = self._white @ self._white[i] - self._joined @ self._joined[i]
        column = shared / math.sqrt(1.0 + float(self._left[i]))
        self._joined = np.column_stack([self._joined, column])
        self._left = np.maximum(self._left - column**2, 0.0)
