"""Which structures a round asks labels for: the initial ones, the validation set, or what exploration and rule find.

Random numbers come from generators of (campaign seed, purpose, round): no step depends on what ran before it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tentpole.campaign.ahead import Ahead, known_to
from tentpole.campaign.batches import Request, write_batch
from tentpole.campaign.brinks import among, brinks_of
from tentpole.campaign.calibration import chooser
from tentpole.campaign.context import Context
from tentpole.campaign.dataset import known_dataset
from tentpole.campaign.exploring import rescored, with_exploration
from tentpole.campaign.facts import BatchFacts
from tentpole.campaign.funnels import starving
from tentpole.campaign.gradients import in_gradients
from tentpole.campaign.judging import final_look, near_target
from tentpole.campaign.paths import VALIDATION, BatchName
from tentpole.campaign.seeding import initial_requests, joined_requests, validation_requests
from tentpole.campaign.selecting import (
    QUEUE,
    Chosen,
    View,
    audit_order,
    audited,
    by_rule,
    candidates_of,
    choose,
    choose_again,
    choose_with_audits,
    describe,
    draw_audit,
    filled,
    on_the_brink,
    requests_of,
    with_frames,
)
from tentpole.campaign.state import FEWEST_LABELS
from tentpole.campaign.walkers import walkers_in
from tentpole.config.walkers import judged_walkers
from tentpole.errors import InputError
from tentpole.exploration.files import read_exploration
from tentpole.exploration.random_numbers import generator
from tentpole.records import Candidate
from tentpole.selection import SelectionRule
from tentpole.selection.base import Labelled, funnel_of


def decide(context: Context, ahead: Ahead, name: BatchName) -> None:
    """Decide a batch and write it down."""
    facts = BatchFacts()
    if name == 0:
        requests = initial_requests(context)
        _refuse_too_few(context, requests)
    elif name == VALIDATION:
        requests = validation_requests(context)
    else:
        requests, facts = _explored(context, ahead, int(name))
    context.folder.check()
    write_batch(context.paths, name, requests, facts)
    strength = dict(facts.bias_strength_eV)
    context.journal.append("batch", round=name, asked=len(requests), bias_strength_eV=strength)


def _refuse_too_few(context: Context, requests: Sequence[Request]) -> None:
    if len({request.name for request in requests}) < FEWEST_LABELS:
        raise InputError(
            f"{context.paths.campaign_file}: [initial] gives {len(requests)} structures, and a committee needs at "
            f"least {FEWEST_LABELS} labels of different structures to begin with."
        )


def _explored(context: Context, ahead: Ahead, number: int) -> tuple[list[Request], BatchFacts]:
    """Explore with the committee in force, then let the rule choose."""
    config, state = context.config, context.state
    context.progress.progress(f"round {number}: fingerprints", 0, 1)  # compiles once per machine: seconds
    known = known_to(context, number)
    fingerprint, before = known_dataset(context, known, known)
    assert before.covariance is not None
    ahead.explore(number, before.covariance)
    walkers, look = walkers_in(state, config, number), final_look(state, config)
    paths = [context.paths.shard(number, walker.id) for walker in walkers]
    if look is not None:
        paths += ahead.explore_longer(number, before.covariance, look[1])
    shards = [read_exploration(path) for path in paths]
    candidates = candidates_of(shards, fingerprint)
    candidates, before = in_gradients(context, number, _rule(context, number - 1)[0], candidates, before)
    unbiased = {walker.id for walker in walkers if walker.unbiased}
    parted, last = brinks_of(shards, unbiased)
    brinks = among(candidates, last) if near_target(state, config) else []
    if look is not None:
        chosen, facts, first_key = _final_look(context, number, candidates, brinks, *look)
    else:
        choose_batch = _choose if known == number - 1 else _choose_from_queue
        chosen, facts, first_key = choose_batch(context, number, candidates, brinks, before)
    there = {candidate.snapshot.id for candidate, _, _ in chosen}
    requests = [*joined_requests(context, number), *requests_of(chosen, state.method)]
    finished = state.trained_further(number - 1)
    facts = replace(
        with_exploration(facts, shards, unbiased),
        parted=parted,
        brinks=tuple(name for i in brinks if (name := candidates[i].snapshot.id) in there),
        first_key=first_key,
        finished=finished,
    )
    _tell(context, number, facts, len(requests))
    return requests, facts


Choice = tuple[list[Chosen], BatchFacts, str]
"""The batch, how it came about, and the rule's threshold in words."""


def _final_look(
    context: Context, number: int, candidates: Sequence[Candidate], brinks: Sequence[int], look: int, frames: int
) -> Choice:
    """Fresh audit frames, on which the committee in force is judged before it is trained again, and `brinks`."""
    order = audit_order(candidates, _audited_walkers(context), frames, _generator(context, number))
    asked = [i for i in brinks if i not in order][: max(0, _room(context, number) - len(order))]
    facts = describe(candidates, {candidates[i].snapshot.id for i in (*order, *asked)})
    context.journal.append("final look", round=number, look=look, frames=len(order))
    words = f"final look {look}: audit frames alone, to judge the committee before it is trained again"
    chosen = [audited(candidates[i]) for i in order] + [on_the_brink(candidates[i]) for i in asked]
    return chosen, replace(facts, final_look=look), words


def _choose(
    context: Context, number: int, candidates: Sequence[Candidate], brinks: Sequence[int], before: Labelled
) -> Choice:
    """Audit frames, `brinks`, and what the rule chooses."""
    section, wanted = context.config.selection, _wanted(context, number)
    rng, view = _generator(context, number), View.of(context.config)
    rule, first_key = _rule(context, number - 1)
    if section.evidence == "labels":
        aware = context.config.random_numbers > 1  # older campaigns choose as they began
        chosen, facts = choose(candidates, rule, before, wanted, section.audit, rng, view=view, audits_known=aware)
    else:
        order = _order(context, candidates, wanted, rng)
        chosen, facts = choose_with_audits(
            candidates, rule, before, wanted, section.audits, order, rng, view=view, brinks=brinks
        )
    return chosen, facts, first_key


def _choose_from_queue(
    context: Context, number: int, candidates: Sequence[Candidate], brinks: Sequence[int], before: Labelled
) -> Choice:
    """Queue frames by what was known before the last labels, then choose from the queue by what is known now.

    Queued frames are scored again with what the last labels have taught; what those made superfluous is dropped.
    """
    state, section, wanted = context.state, context.config.selection, _wanted(context, number)
    _, now = known_dataset(context, number - 1, known_to(context, number))
    rng, view = _generator(context, number), View.of(context.config)
    rule, _ = _rule(context, known_to(context, number))
    order: list[Candidate] = []
    last: list[Candidate] = []
    if section.evidence == "labels":
        first, rest = draw_audit(candidates, wanted, section.audit, rng)
    else:
        order = [candidates[i] for i in _order(context, candidates, wanted, rng)]
        first = order[: min(section.audits, wanted)]
        drawn = {c.snapshot.id for c in first}
        last = [candidates[i] for i in brinks if candidates[i].snapshot.id not in drawn][: wanted - len(first)]
        drawn |= {c.snapshot.id for c in last}
        rest = [c for c in candidates if c.snapshot.id not in drawn]
        before, now = with_frames(before, [*first, *last]), with_frames(now, [*first, *last])
    room = QUEUE * section.batch - len(first) - len(last)
    queued = [c for c, _, _ in by_rule(rest, rule, before, room, rng, view=view)]
    assert now.covariance is not None
    old = [*first, *queued]
    pairs = list(zip(old, rescored(context, state.newest_models(number - 1), now.covariance, old), strict=True))
    newest, first_key = _rule(context, number - 1)
    here = len(first)
    chosen, dropped = choose_again(pairs[:here], pairs[here:], newest, now, wanted - len(last), rng, view=view)
    chosen[here:here] = [on_the_brink(c) for c in last]
    if order:
        scored = {c.snapshot.id: c for c, _, _ in chosen[:here]}
        order = [scored.get(c.snapshot.id, c) for c in order]
        chosen = filled(order, here, chosen[here:], wanted)
        there = {c.snapshot.id for c, _, _ in chosen}
        dropped = tuple(frame for frame in dropped if frame.id not in there)
    for frame in dropped:
        context.journal.append("dropped", round=number, **frame.to_json())
    facts = describe(candidates, {c.snapshot.id for c, _, _ in chosen})
    facts = replace(facts, queued=len(queued), dropped=dropped)
    if rest:
        picks = sum(not audit for _, _, audit in chosen)
        funnel = funnel_of(rule, view.table(rest), before, room, picks)
        facts = replace(facts, funnel=funnel, audits=len(chosen) - picks, wanted=wanted)
    return chosen, facts, first_key


def _rule(context: Context, last: int) -> tuple[SelectionRule, str]:
    """The campaign's rule by what is known after round `last`, and its threshold in words."""
    return chooser(context.config, *context.state.calibrated(last))


def _wanted(context: Context, number: int) -> int:
    """Labels that round `number` may ask for."""
    return min(context.config.selection.batch, _room(context, number))


def _room(context: Context, number: int) -> int:
    """Labels that the campaign may still ask for when round `number` begins."""
    most = context.config.stop.labels
    return sys.maxsize if most is None else most - context.state.count(number - 1)


def _order(context: Context, candidates: Sequence[Candidate], wanted: int, rng: np.random.Generator) -> list[int]:
    count = wanted if context.config.selection.audit > 0 else 0
    return audit_order(candidates, _audited_walkers(context), count, rng)


def _audited_walkers(context: Context) -> set[str]:
    """The walkers whose frames may be audit frames."""
    return {walker.id for walker in judged_walkers(context.config)}


def _generator(context: Context, number: int) -> np.random.Generator:
    return generator(context.config.seed, "selection", number, scheme=context.config.random_numbers)


def _tell(context: Context, number: int, facts: BatchFacts, asked: int) -> None:
    dropped = f", {len(facts.dropped)} dropped from the queue" if facts.dropped else ""
    context.progress.note(
        f"round {number}: {facts.choice}, {asked} labels asked for{dropped}, "
        f"{_mishaps(facts.unhealthy)}" + (f"; {facts.first_key}" if facts.first_key else "")
    )
    before = [context.state.record(number - 1).facts] if number > 1 else []
    if words := starving([*before, facts], context.config):
        context.progress.note(f"round {number}: {words}")


def _mishaps(count: int) -> str:
    return "1 mishap" if count == 1 else f"{count} mishaps"
