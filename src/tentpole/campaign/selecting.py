"""From explorations to a batch: candidates, one rule, audit frames, and what the round's report needs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from tentpole.campaign.audits import draw_audits
from tentpole.campaign.batches import Method, Request
from tentpole.campaign.facts import BatchFacts, DroppedFrame, Spread
from tentpole.exploration import Exploration
from tentpole.records import Candidate, Condition
from tentpole.selection.base import Candidates, Labelled, Pick, SelectionRule, funnel_of

if TYPE_CHECKING:
    from tentpole.config.schema import CampaignConfig
    from tentpole.entropy import Fingerprint


def candidates_of(explorations: Sequence[Exploration], fingerprint: Fingerprint) -> list[Candidate]:
    """All snapshots with whole scores, in the order of walkers and steps."""
    return [
        Candidate(snapshot, scores, fingerprint.fingerprints(snapshot.atoms))
        for exploration in explorations
        for snapshot, scores in zip(exploration.snapshots, exploration.scores, strict=True)
        if not scores.failed and scores.finite
    ]


@dataclass(frozen=True, slots=True)
class View:
    """How a rule is shown the candidates.

    sigma : what a frame's σ is of its atoms' force disagreement (see Scores.sigma). weights : what σ is multiplied by,
    by structure, where targets differ; 1 elsewhere. systems : the group of quotas by structure; by condition where
    there are none.
    """

    sigma: str = "mean"
    weights: Mapping[str, float] = field(default_factory=dict)
    systems: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def of(config: CampaignConfig) -> View:
        """A campaign's own."""
        section, target = config.selection, config.target.force_error_eV_per_A
        bounds = {name: config.force_error_of(name) for name in config.systems}
        weights = {name: target / bound for name, bound in bounds.items() if bound != target}
        return View(section.sigma, weights, config.systems if section.quota_of == "system" else {})

    def table(self, candidates: Sequence[Candidate]) -> Candidates:
        """The candidates as a rule sees them."""
        return Candidates.of_rows(
            ids=[c.snapshot.id for c in candidates],
            sigma=[self._sigma(c) for c in candidates],
            rows=[c.fingerprints for c in candidates],
            conditions=[self._group(c.snapshot.condition) for c in candidates],
        )

    def _sigma(self, candidate: Candidate) -> float:
        sigma = candidate.scores.sigma(self.sigma, len(candidate.snapshot.atoms))
        return sigma * self.weights.get(candidate.snapshot.condition.structure, 1.0)

    def _group(self, condition: Condition) -> str:
        return self.systems.get(condition.structure, str(condition))


MEAN = View()


Chosen = tuple[Candidate, Pick, bool]
"""A candidate, why it was picked, and whether it is an audit frame."""

QUEUE = 2
"""Frames queued per frame wanted, where the choice is looked at again before they are labelled."""


def choose(
    candidates: Sequence[Candidate],
    rule: SelectionRule,
    labelled: Labelled,
    k: int,
    audit: float,
    rng: np.random.Generator,
    *,
    view: View = MEAN,
    audits_known: bool = True,
) -> tuple[list[Chosen], BatchFacts]:
    """At most k candidates with their picks; the last of each triple tells audit frames.

    A share `audit` of the k (at least one where the share is not zero) is drawn at random before the rule
    looks, whatever its scores: those frames judge the committee without bias. `audits_known`: the rule counts
    them among what is labelled, so that it does not ask for their like.
    """
    first, rest = draw_audit(candidates, k, audit, rng)
    if audits_known:
        labelled = with_frames(labelled, first)
    picked = by_rule(rest, rule, labelled, k - len(first), rng, view=view)
    chosen = [*(audited(c) for c in first), *picked]
    facts = describe(candidates, {c.snapshot.id for c, _, _ in chosen})
    if rest:
        funnel = funnel_of(rule, view.table(rest), labelled, k - len(first), len(picked))
        facts = replace(facts, funnel=funnel, audits=len(first), wanted=k)
    return chosen, facts


def with_frames(labelled: Labelled, frames: Sequence[Candidate]) -> Labelled:
    """What is labelled, and frames that will be whatever the rule says."""
    if not frames:
        return labelled
    shown = MEAN.table(frames)
    return labelled.joined(shown.features, shown.rows, shown.conditions)


def audit_order(candidates: Sequence[Candidate], walkers: set[str], count: int, rng: np.random.Generator) -> list[int]:
    """Indices of at most `count` candidates in the order in which they become audit frames.

    They are drawn from what `walkers` visited, evenly over conditions and walkers (see audits.py); frames before a
    mishap are no sample in time.
    """
    fit = [i for i, c in enumerate(candidates) if not c.snapshot.before_mishap and c.snapshot.walker in walkers]
    conditions = [str(candidates[i].snapshot.condition) for i in fit]
    return [fit[i] for i in draw_audits(conditions, [candidates[i].snapshot.walker for i in fit], count, rng)]


def choose_with_audits(
    candidates: Sequence[Candidate],
    rule: SelectionRule,
    labelled: Labelled,
    k: int,
    audits: int,
    order: Sequence[int],
    rng: np.random.Generator,
    *,
    view: View = MEAN,
    brinks: Sequence[int] = (),
) -> tuple[list[Chosen], BatchFacts]:
    """At most k candidates, audit frames first: the first `audits` of `order`, `brinks`, then what the rule picks.

    Places that the rule leaves empty become audit frames, the next of `order`; where one of those was picked by the
    rule too, it counts as an audit frame: which frames these are depends on no score.
    """
    first = list(order[: min(audits, k)])
    taken = [*first, *(i for i in brinks if i not in first)][:k]
    rest = [c for i, c in enumerate(candidates) if i not in set(taken)]
    known = with_frames(labelled, [candidates[i] for i in taken])
    picked = by_rule(rest, rule, known, k - len(taken), rng, view=view)
    asked = [on_the_brink(candidates[i]) for i in taken[len(first) :]]
    chosen = filled([candidates[i] for i in order], len(first), [*asked, *picked], k)
    facts = describe(candidates, {c.snapshot.id for c, _, _ in chosen})
    if rest:
        funnel = funnel_of(rule, view.table(rest), known, k - len(taken), len(picked))
        facts = replace(facts, funnel=funnel, audits=sum(audit for _, _, audit in chosen), wanted=k)
    return chosen, facts


def filled(order: Sequence[Candidate], first: int, picked: Sequence[Chosen], k: int) -> list[Chosen]:
    """The first audit frames of `order`, as many more as there is room beside the rule's picks, and those picks."""
    room = k - first - len(picked) if first else 0
    audits = [audited(c) for c in order[: first + room]]
    there = {c.snapshot.id for c, _, _ in audits}
    return audits + [one for one in picked if one[0].snapshot.id not in there]


def draw_audit(
    candidates: Sequence[Candidate], k: int, audit: float, rng: np.random.Generator
) -> tuple[list[Candidate], list[Candidate]]:
    """The audit frames among k, and the other candidates."""
    regular = [i for i, c in enumerate(candidates) if not c.snapshot.before_mishap]  # others are no sample in time
    if not regular:
        return [], list(candidates)
    n_audit = min(len(regular), k, max(1, round(audit * k))) if audit > 0 else 0
    drawn = {regular[i] for i in rng.choice(len(regular), n_audit, replace=False).tolist()}
    first = [c for i, c in enumerate(candidates) if i in drawn]
    return first, [c for i, c in enumerate(candidates) if i not in drawn]


def by_rule(
    candidates: Sequence[Candidate],
    rule: SelectionRule,
    labelled: Labelled,
    k: int,
    rng: np.random.Generator,
    *,
    view: View = MEAN,
) -> list[Chosen]:
    """At most k that the rule picks."""
    if not candidates or k <= 0:
        return []
    return [(candidates[pick.index], pick, False) for pick in rule.select(view.table(candidates), labelled, k, rng)]


def choose_again(
    audits: Sequence[tuple[Candidate, Candidate]],
    queued: Sequence[tuple[Candidate, Candidate]],
    rule: SelectionRule,
    labelled: Labelled,
    k: int,
    rng: np.random.Generator,
    *,
    view: View = MEAN,
) -> tuple[list[Chosen], tuple[DroppedFrame, ...]]:
    """From a queue, whose frames come as (as queued, as scored now), what is still worth a label; and what is dropped.

    Audit frames stay, whatever their scores. A dropped frame has its id, its σ_F (eV/Å) and gain before and now, and
    the reason in words.
    """
    stay = [audited(now if now.scores.finite else old) for old, now in audits]
    fit = [now for _, now in queued if not now.scores.failed and now.scores.finite]
    chosen = by_rule(fit, rule, labelled, k - len(stay), rng, view=view)
    kept = {c.snapshot.id for c, _, _ in chosen}
    full = len(chosen) >= k - len(stay)
    dropped = []
    for old, now in queued:
        if now.snapshot.id in kept:
            continue
        dropped.append(
            DroppedFrame(
                now.snapshot.id,
                (old.scores.force_std, _finite(now.scores.force_std)),
                (old.scores.gain, _finite(now.scores.gain)),
                _why_dropped(old, now, [c for c, _, _ in chosen], full),
            )
        )
    return stay + chosen, tuple(dropped)


def audited(candidate: Candidate) -> Chosen:
    """The candidate as an audit frame."""
    reason = "audit: drawn at random in time, whatever its scores"
    return candidate, Pick(-1, candidate.snapshot.id, _scores(candidate), reason), True


def on_the_brink(candidate: Candidate) -> Chosen:
    """The candidate as a frame after which an unbiased walker fell apart."""
    reason = "the last before the structure fell apart: is the committee right here?"
    return candidate, Pick(-1, candidate.snapshot.id, _scores(candidate), reason), False


def _why_dropped(old: Candidate, now: Candidate, chosen: Sequence[Candidate], full: bool) -> str:
    if now.scores.failed or not now.scores.finite:
        return f"it can no longer be scored ({now.scores.failed or 'its scores are not finite'})"
    was, new = old.scores, now.scores
    said = (
        f"σ_F {1e3 * was.force_std:.3g} -> {1e3 * new.force_std:.3g} meV/Å and gain {was.gain:.3g} -> {new.gain:.3g} "
        "with the labels of the round before"
    )
    if not full:
        return f"{said}: the rule no longer thinks it worth a label"
    below = [
        name
        for name, value, others in (
            ("σ_F", new.force_std, [c.scores.force_std for c in chosen]),
            ("gain", new.gain, [c.scores.gain for c in chosen]),
        )
        if others and value < min(others)
    ]
    less = f", whose {' and '.join(below)} {'are all' if len(below) > 1 else 'is always'} higher" if below else ""
    return f"{said}: the rule now prefers {len(chosen)} others of the queue{less}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def requests_of(chosen: Sequence[Chosen], method: Method) -> list[Request]:
    """The batch: every pick with its scores and its reason."""
    return [
        method.request(
            candidate.snapshot.id,
            candidate.snapshot.atoms,
            candidate.snapshot.condition,
            audit=audit,
            reason=pick.reason,
            scores={**_scores(candidate), **pick.scores},
        )
        for candidate, pick, audit in chosen
    ]


def describe(candidates: Sequence[Candidate], chosen: set[str]) -> BatchFacts:
    """σ and gain of what was chosen beside those of what remains: they approach each other at the end."""
    picked = [c for c in candidates if c.snapshot.id in chosen]
    left = [c for c in candidates if c.snapshot.id not in chosen]
    return BatchFacts(
        candidates=len(candidates),
        chosen=len(picked),
        by_condition=dict(Counter(str(c.snapshot.condition) for c in picked)),
        force_std_chosen=Spread.of([c.scores.force_std for c in picked]),
        force_std_remaining=Spread.of([c.scores.force_std for c in left]),
        gain_chosen=Spread.of([c.scores.gain for c in picked]),
        gain_remaining=Spread.of([c.scores.gain for c in left]),
    )


def _scores(candidate: Candidate) -> dict[str, float]:
    scores = candidate.scores
    return {
        "energy_std": scores.energy_std,
        "force_std": scores.force_std,
        "max_force_std": scores.max_force_std,
        "gain": scores.gain,
    }
