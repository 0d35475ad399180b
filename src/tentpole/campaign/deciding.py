"""Which structures a round asks labels for: the initial ones, the validation set, or what exploration and rule find.

Random numbers come from generators of (campaign seed, purpose, round): no step depends on what ran before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tentpole.campaign.ahead import Ahead, known_to
from tentpole.campaign.batches import Request, write_batch
from tentpole.campaign.calibration import chooser
from tentpole.campaign.context import Context
from tentpole.campaign.dataset import covariance_of, known_fingerprints
from tentpole.campaign.exploring import rescored, walker_conditions, with_exploration
from tentpole.campaign.facts import BatchFacts
from tentpole.campaign.opening import FEWEST_LABELS
from tentpole.campaign.paths import VALIDATION, BatchName
from tentpole.campaign.seeding import initial_requests, validation_requests
from tentpole.campaign.selecting import (
    QUEUE,
    Chosen,
    by_rule,
    candidates_of,
    choose,
    choose_again,
    describe,
    draw_audit,
    requests_of,
)
from tentpole.errors import InputError
from tentpole.exploration.files import read_exploration
from tentpole.exploration.random_numbers import generator
from tentpole.records import Candidate, FloatArray
from tentpole.selection.base import Labelled


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
    fingerprint, rows = known_fingerprints(context, number - 1, known)
    before = _labelled(context, rows[: state.count(known)], known)
    assert before.covariance is not None
    ahead.explore(number, before.covariance)
    walkers = {walker: ratio for walker, _, ratio in walker_conditions(context)}
    shards = [read_exploration(context.paths.shard(number, walker)) for walker in walkers]
    candidates = candidates_of(shards, fingerprint)
    wanted = config.selection.batch
    if config.stop.labels is not None:
        wanted = min(wanted, config.stop.labels - len(rows))
    rng = generator(config.seed, "selection", number, scheme=config.random_numbers)
    if known == number - 1:
        rule, first_key = chooser(config, state.end(known).calibration)
        audit, sigma = config.selection.audit, config.selection.sigma
        aware = config.random_numbers > 1  # older campaigns choose as they began
        chosen, facts = choose(candidates, rule, before, wanted, audit, rng, sigma=sigma, audits_known=aware)
    else:
        now = _labelled(context, rows, number - 1)
        chosen, facts, first_key = _choose_from_queue(context, number, candidates, before, now, wanted, rng)
    requests = requests_of(chosen, state.method)
    facts = replace(with_exploration(facts, shards, walkers), first_key=first_key)
    _tell(context, number, facts, len(requests))
    return requests, facts


def _choose_from_queue(
    context: Context,
    number: int,
    candidates: Sequence[Candidate],
    before: Labelled,
    now: Labelled,
    wanted: int,
    rng: np.random.Generator,
) -> tuple[list[Chosen], BatchFacts, str]:
    """Queue frames by what was known before the last labels, then choose from the queue by what is known now.

    Queued frames are scored again with what the last labels have taught; what those made superfluous is dropped.
    """
    config, state = context.config, context.state
    rule, _ = chooser(config, state.end(known_to(context, number)).calibration)
    audited, rest = draw_audit(candidates, wanted, config.selection.audit, rng)
    room, sigma = QUEUE * config.selection.batch - len(audited), config.selection.sigma
    queued = [c for c, _, _ in by_rule(rest, rule, before, room, rng, sigma=sigma)]
    assert now.covariance is not None
    old = [*audited, *queued]
    pairs = list(zip(old, rescored(context, state.newest_models(number - 1), now.covariance, old), strict=True))
    rule, first_key = chooser(config, state.end(number - 1).calibration)
    here = len(audited)
    chosen, dropped = choose_again(pairs[:here], pairs[here:], rule, now, wanted, rng, sigma=sigma)
    for frame in dropped:
        context.journal.append("dropped", round=number, **frame.to_json())
    facts = describe(candidates, {c.snapshot.id for c, _, _ in chosen})
    return chosen, replace(facts, queued=len(queued), dropped=dropped), first_key


def _labelled(context: Context, rows: Sequence[FloatArray], last: int) -> Labelled:
    """The dataset after round `last` as rules see it, from the fingerprint rows of its labels."""
    return Labelled.of_rows(rows, context.state.conditions(last), covariance_of(context.config, rows))


def _tell(context: Context, number: int, facts: BatchFacts, asked: int) -> None:
    dropped = f", {len(facts.dropped)} dropped from the queue" if facts.dropped else ""
    context.progress.note(
        f"round {number}: {facts.choice}, {asked} labels asked for{dropped}, "
        f"{facts.unhealthy} mishaps" + (f"; {facts.first_key}" if facts.first_key else "")
    )
