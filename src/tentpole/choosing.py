"""From explorations to a batch: candidates, one rule, audit frames, and what the round's report needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tentpole.batches import Request
from tentpole.dynamics import Exploration
from tentpole.selection.base import Candidates, Labelled, Pick, SelectionRule
from tentpole.state import Candidate, FloatArray

if TYPE_CHECKING:
    from tentpole.entropy import Fingerprint


def candidates_of(explorations: Sequence[Exploration], fingerprint: Fingerprint) -> list[Candidate]:
    """All snapshots with whole scores, in the order of walkers and steps."""
    return [
        Candidate(snapshot, scores, fingerprint.fingerprints(snapshot.atoms))
        for exploration in explorations
        for snapshot, scores in zip(exploration.snapshots, exploration.scores, strict=True)
        if not scores.failed and scores.finite
    ]


def table(candidates: Sequence[Candidate]) -> Candidates:
    """The candidates as a rule sees them: σ is the mean force disagreement in eV/Å."""
    return Candidates(
        ids=[c.snapshot.id for c in candidates],
        sigma=np.array([c.scores.force_std for c in candidates], dtype=float),
        features=np.array([c.fingerprints.mean(axis=0) for c in candidates]),
        conditions=[str(c.snapshot.condition) for c in candidates],
        rows=[c.fingerprints for c in candidates],
    )


def choose(
    candidates: Sequence[Candidate],
    rule: SelectionRule,
    labelled: Labelled,
    k: int,
    audit: float,
    rng: np.random.Generator,
) -> tuple[list[tuple[Candidate, Pick, bool]], dict[str, Any]]:
    """At most k candidates with their picks; the last of each triple tells audit frames.

    A share `audit` of the k (at least one where the share is not zero) is drawn at random before the rule
    looks, whatever its scores: those frames judge the committee without bias.
    """
    if not candidates:
        return [], describe([], set())
    n_audit = min(len(candidates), k, max(1, round(audit * k))) if audit > 0 else 0
    drawn = sorted(rng.choice(len(candidates), n_audit, replace=False).tolist())
    chosen: list[tuple[Candidate, Pick, bool]] = []
    for index in drawn:
        candidate = candidates[index]
        reason = "audit: drawn at random in time, whatever its scores"
        chosen.append((candidate, Pick(index, candidate.snapshot.id, _scores(candidate), reason), True))
    rest = [c for i, c in enumerate(candidates) if i not in set(drawn)]
    if rest and k > n_audit:
        for pick in rule.select(table(rest), labelled, k - n_audit, rng):
            chosen.append((rest[pick.index], pick, False))
    return chosen, describe(candidates, {c.snapshot.id for c, _, _ in chosen})


def requests_of(
    chosen: Sequence[tuple[Candidate, Pick, bool]], reference: str, charge: int | None, multiplicity: int | None
) -> list[Request]:
    """The batch: every pick with its scores and its reason."""
    return [
        Request(
            id=candidate.snapshot.id,
            atoms=candidate.snapshot.atoms,
            reference=reference,
            charge=charge,
            multiplicity=multiplicity,
            condition=candidate.snapshot.condition,
            audit=audited,
            reason=pick.reason,
            scores={**_scores(candidate), **pick.scores},
        )
        for candidate, pick, audited in chosen
    ]


def describe(candidates: Sequence[Candidate], chosen: set[str]) -> dict[str, Any]:
    """σ and gain of what was chosen beside those of what remains: they approach each other at the end."""
    picked = [c for c in candidates if c.snapshot.id in chosen]
    left = [c for c in candidates if c.snapshot.id not in chosen]
    return {
        "candidates": len(candidates),
        "chosen": len(picked),
        "by_condition": dict(Counter(str(c.snapshot.condition) for c in picked)),
        "force_std_chosen": _summary([c.scores.force_std for c in picked]),
        "force_std_remaining": _summary([c.scores.force_std for c in left]),
        "gain_chosen": _summary([c.scores.gain for c in picked]),
        "gain_remaining": _summary([c.scores.gain for c in left]),
    }


def _summary(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    array: FloatArray = np.asarray(values)
    low, middle, high = np.quantile(array, [0.05, 0.5, 0.95])
    return {"mean": float(array.mean()), "p05": float(low), "median": float(middle), "p95": float(high)}


def _scores(candidate: Candidate) -> dict[str, float]:
    scores = candidate.scores
    return {
        "energy_std": scores.energy_std,
        "force_std": scores.force_std,
        "max_force_std": scores.max_force_std,
        "gain": scores.gain,
    }
