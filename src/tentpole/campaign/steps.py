"""The steps of a round, each done once: decide a batch, close it, train, finish; and what is missing, made anew.

What is done is known from the files alone: a step whose file is there is done, any other is done (again), with the same
result.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tentpole.campaign.ahead import Ahead, known_to
from tentpole.campaign.answers import label_tasks
from tentpole.campaign.batches import Request
from tentpole.campaign.closing import close, finish, finish_training, train_round
from tentpole.campaign.context import Context
from tentpole.campaign.dataset import known_dataset
from tentpole.campaign.deciding import decide
from tentpole.campaign.forecast import forecast
from tentpole.campaign.judging import final_look_size, finishing_comes, history, judge_rounds, out_of_time
from tentpole.campaign.pretraining import is_pretrained, pretrain
from tentpole.campaign.verdict import Verdict
from tentpole.campaign.walkers import walkers_in
from tentpole.committee.committee_files import is_whole
from tentpole.config.checks import can_finish

if TYPE_CHECKING:
    from tentpole.labeling import Outcome


def next_step(context: Context, ahead: Ahead) -> Verdict | None:
    """Do the next thing that is not done.

    Returns the verdict where this ended the campaign: at the end of a round, or where a limit of time has passed before
    something that takes long.
    """
    newest, state = context, context.state
    number = state.current
    context = newest.at(number)
    if number == 0 and not is_pretrained(context):
        over = time_is_up(context)
        if over is None:
            pretrain(context, lambda: time_is_up(context) is not None)
        return over
    for name in state.names(number):
        if not state.is_decided(name):
            if over := time_is_up(context):
                return over
            if _finish_first(context, number):
                return None
            decide(context, ahead, name)
            return None
    for name in state.names(number):
        if not state.is_closed(name):
            close(context, name)
            return None
    if not state.is_trained(number):
        if over := time_is_up(context):
            return over
        train_round(context, number)
        return None
    finish(context, number)
    verdict = judge_rounds(state, newest.settings, context.ledger)
    if verdict is None:
        _tell_forecast(newest)
    return verdict


def _tell_forecast(context: Context) -> None:
    state, config = context.state, context.config
    rounds = history(state)
    finishing, look = finishing_comes(rounds, state, config), final_look_size(rounds, config) or 0
    rest = forecast(state, config, context.ledger.usage, finishing=finishing, look=look)
    if rest is not None:
        context.progress.note(rest.words)


def make_missing(context: Context, ahead: Ahead) -> bool:
    """Make anew, with the same result, what is missing of the rounds that are done; True where something was.

    Files that were found damaged are deleted to that end.
    """
    newest, state = context, context.state
    for number in range(state.current):
        context = newest.at(number)
        walkers = walkers_in(state, context.config, number) if number else []
        if not all(context.paths.shard(number, walker.id).exists() for walker in walkers):
            known = known_to(context, number)
            _, dataset = known_dataset(context, known, known)
            assert dataset.covariance is not None
            ahead.explore(number, dataset.covariance)
            return True
        if not state.is_trained(number):
            train_round(context, number)
            return True
        if state.needs_finished(number):
            finish_training(context, number)
            return True
    return False


def finish_committee(context: Context, verdict: Verdict) -> bool:
    """Train the committee that a verdict leaves in force until its errors no longer fall; True where that was done.

    Not where MD with it fails, nor where the time is up.
    """
    number = context.state.current - 1
    if verdict.kind == "UNSTABLE" or not can_finish(context.config) or number < 0:
        return False
    passed = bool(number and context.state.outcome(number).passed)
    there = is_whole(context.paths.finished(number - 1 if passed else number))
    if there or time_is_up(context):
        return False
    finish_training(context.at(number), number)
    return True


def _finish_first(context: Context, number: int) -> bool:
    """Whether the committee in force had to be trained on before round `number`, and now is."""
    before, config = number - 1, context.config
    if number == 0 or not can_finish(config) or not finishing_comes(history(context.state), context.state, config):
        return False
    finish_training(context.at(before), before)
    return True


def time_is_up(context: Context) -> Verdict | None:
    """BUDGET where a limit of time has passed, else None."""
    return out_of_time(context.state, context.config, context.ledger)


def label(context: Context, ahead: Ahead, requests: list[Request]) -> Iterator[Outcome]:
    """Have the campaign's own workers label these; each outcome as it comes, until a limit of time passes."""
    from tentpole.labeling import label_all
    from tentpole.training.client import prepare

    limits = context.config.executor
    context.workers.prepare()
    if context.workers.training is None:
        prepare()
    tasks = label_tasks(context, context.reference, requests, persistent=limits.persistent)
    return label_all(
        tasks,
        context.workers.labels,
        attempts=limits.attempts,
        in_a_row=limits.crashes_in_a_row,
        submitted=ahead.start,  # labels come first where both share the workers
        enough=lambda: time_is_up(context) is not None,
    )
