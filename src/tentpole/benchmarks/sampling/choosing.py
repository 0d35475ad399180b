"""A policy's choice: what its rule sees of candidates and labels, and an even share under each condition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from tentpole.benchmarks.sampling.config import PolicySection, Study
from tentpole.benchmarks.sampling.rules import BY_LARGEST, WITHOUT_FINGERPRINTS, by_condition, make_policy_rule
from tentpole.records import FloatArray, Snapshot, sigma_kind
from tentpole.selection import Candidates, Gradient, Labelled, Pick, SelectionRule

if TYPE_CHECKING:
    from tentpole.entropy import Fingerprint

Select = Callable[[Sequence[Snapshot], Sequence[Snapshot], int], list[Pick]]
"""Chooses among candidates, beside what is known, at most so many."""


@dataclass(frozen=True)
class Views:
    """Frames as a rule sees them.

    Parameters
    ----------
    sigma : (n,) array
        Of the candidates, eV/Å; zeros where there is no model.
    rows : list of (N_i, d) arrays, optional
        Fingerprints of each frame, candidates first, then what is labelled.
    features : (n + m, d) array, optional
        One row per frame where a rule looks at those alone.
    """

    sigma: FloatArray
    rows: list[FloatArray] | None = None
    features: FloatArray | None = None


class Chooser:
    """Chooses a policy's frames, fingerprints computed once each.

    Parameters
    ----------
    study : Study
    policy : PolicySection
    """

    def __init__(self, study: Study, policy: PolicySection) -> None:
        self._study, self._policy = study, policy
        self._rows: dict[str, FloatArray] = {}

    def choose(
        self,
        candidates: Sequence[Snapshot],
        known: Sequence[Snapshot],
        k: int,
        rng: np.random.Generator,
        models: Path | None,
    ) -> list[Pick]:
        """At most k of `candidates` beside what is `known`; `models`: the last trained ones, None before the first."""
        policy = self._policy
        first = policy.needs_model and models is None
        rule = make_policy_rule(policy.first, {}) if first else policy.chooser
        views = self._views(rule, [*candidates, *known], len(candidates), None if first else models)
        place = {id(shot): i for i, shot in enumerate([*candidates, *known])}

        def select(among: Sequence[Snapshot], beside: Sequence[Snapshot], most: int) -> list[Pick]:
            some, others = ([place[id(shot)] for shot in part] for part in (among, beside))
            return rule.select(*self._tables(rule, among, beside, some, others, views), most, rng)

        if not policy.even:
            return select(candidates, known, k)
        return _even(select, candidates, known, k)

    def _views(self, rule: SelectionRule, frames: Sequence[Snapshot], candidates: int, models: Path | None) -> Views:
        sigma = np.zeros(candidates)
        if isinstance(rule, Gradient):
            assert models is not None
            return Views(sigma, features=_gradients([shot.atoms for shot in frames], models, self._dtype))
        if models is not None and self._policy.needs_model:
            sigma = self._sigma([shot.atoms for shot in frames[:candidates]], models, rule)
        if isinstance(rule, WITHOUT_FINGERPRINTS):
            return Views(sigma)
        return Views(sigma, rows=[self._rows_of(shot) for shot in frames])

    def _tables(
        self,
        rule: SelectionRule,
        among: Sequence[Snapshot],
        beside: Sequence[Snapshot],
        some: list[int],
        others: list[int],
        views: Views,
    ) -> tuple[Candidates, Labelled]:
        """The candidates `among` at places `some`, and what is labelled `beside` them at places `others`."""
        ids, sigma = [shot.id for shot in among], views.sigma[some]
        conditions, told = ([str(shot.condition) for shot in part] for part in (among, beside))
        if views.rows is not None:
            from tentpole.entropy import Covariance

            settings = self._study.config.fingerprint
            eps = getattr(rule, "eps", None)
            covariance = Covariance(self._policy.mode or settings.mode, settings.eps if eps is None else eps)
            blocks = [views.rows[i] for i in others]
            for block in blocks:
                covariance.add(block)
            table = Candidates.of_rows(ids, sigma, [views.rows[i] for i in some], conditions)
            return table, Labelled.of_rows(blocks, told, covariance, table.features.shape[1])
        features = np.zeros((len(views.sigma) + len(others), 1)) if views.features is None else views.features
        if views.features is None:
            return Candidates(ids, sigma, features[: len(some)], conditions), Labelled(features[: len(others)], told)
        return Candidates(ids, sigma, features[some], conditions), Labelled(features[others], told)

    def _rows_of(self, shot: Snapshot) -> FloatArray:
        if shot.id not in self._rows:
            self._rows[shot.id] = self._fingerprint.fingerprints(shot.atoms)
        return self._rows[shot.id]

    @cached_property
    def _fingerprint(self) -> Fingerprint:
        from tentpole.entropy import make_fingerprint

        numbers = sorted({int(z) for atoms in self._study.starts.values() for z in atoms.numbers})
        return make_fingerprint(self._study.config.fingerprint.build(), numbers)

    @property
    def _dtype(self) -> str:
        return self._study.config.training.model.dtype

    def _sigma(self, frames: Sequence[Atoms], models: Path, rule: SelectionRule) -> FloatArray:
        """(n,) of each frame, eV/Å: of its atoms' σ what the policy says."""
        from tentpole.committee import force_std, max_force_std, p95_force_std
        from tentpole.training.network_voter import members_in

        kind = self._policy.sigma or ("max" if isinstance(rule, BY_LARGEST) else "auto")
        forces = members_in(models, self._dtype, "own").evaluate(frames).forces
        over_atoms = {"mean": force_std, "max": max_force_std, "p95": p95_force_std}
        kinds = [sigma_kind(kind, len(atoms)) for atoms in frames]
        return np.array([float(over_atoms[one](f)) for one, f in zip(kinds, forces, strict=True)])


def _gradients(frames: Sequence[Atoms], models: Path, dtype: str) -> FloatArray:
    from tentpole.committee import Committee
    from tentpole.entropy import GradientFeatures

    return GradientFeatures(Committee.load(models, dtype=dtype)).rows(frames)


def _even(select: Select, candidates: Sequence[Snapshot], known: Sequence[Snapshot], k: int) -> list[Pick]:
    """The rule's choice under each condition by itself, what it has chosen under the others being known to it."""
    groups = by_condition(str(shot.condition) for shot in candidates)
    shares = even_shares(Counter(str(shot.condition) for shot in known), {c: len(p) for c, p in groups.items()}, k)
    picks: list[Pick] = []
    for condition, places in groups.items():
        beside = [*known, *(candidates[pick.index] for pick in picks)]
        chosen = select([candidates[i] for i in places], beside, shares[condition])
        picks += [Pick(places[p.index], p.id, p.scores, f"{p.reason}, under {condition}") for p in chosen]
    return picks


def even_shares(labelled: Counter[str], there: dict[str, int], k: int) -> dict[str, int]:
    """How many of k frames each condition gets, so that labels are spread evenly as far as its candidates reach.

    >>> even_shares(Counter(hot=2), {"hot": 9, "cold": 9}, 4)
    {'hot': 1, 'cold': 3}
    """
    shares = dict.fromkeys(there, 0)
    for _ in range(min(k, sum(there.values()))):
        open_ = [c for c in there if shares[c] < there[c]]
        shares[min(open_, key=lambda c: labelled[c] + shares[c])] += 1
    return shares
