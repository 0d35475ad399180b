"""The rounds that are done, as the verdict's tests take them, and the verdict on them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from tentpole.campaign.batches import AskedFrame
from tentpole.campaign.facts import RoundOutcome
from tentpole.campaign.ledger import Ledger
from tentpole.campaign.state import RoundState
from tentpole.campaign.verdict import Criteria, Evidence, Round, Verdict, evidence, judge, time_limit
from tentpole.config.schema import CampaignConfig


def criteria(config: CampaignConfig) -> Criteria:
    """The verdict's settings, from the campaign file."""
    target, stop = config.target, config.stop
    return Criteria(
        force_error_eV_per_A=target.force_error_eV_per_A,
        rounds=target.rounds,
        labels_needed=target.labels_needed,
        outliers=target.outliers,
        stalled_rounds=target.stalled_rounds,
        max_labels=stop.labels,
        max_rounds=stop.rounds,
        max_hours=stop.hours,
        max_core_hours=stop.core_hours,
    )


def history(state: RoundState) -> list[Round]:
    """All rounds that are done, the initial one first."""
    return [_round(state, number) for number in range(state.current)]


def tests(state: RoundState, config: CampaignConfig) -> tuple[Evidence, ...]:
    """The tests of convergence on the rounds that are done."""
    return evidence(history(state), criteria(config))


def judge_rounds(state: RoundState, config: CampaignConfig, ledger: Ledger) -> Verdict | None:
    """The verdict on the rounds that are done, or None: go on."""
    return judge(history(state), ledger.hours, criteria(config), ledger.core_hours)


def out_of_time(state: RoundState, config: CampaignConfig, ledger: Ledger) -> Verdict | None:
    """BUDGET where a limit of time has passed in the middle of a round, with what the rounds before have shown."""
    limits = criteria(config)
    core_hours = ledger.core_hours if limits.max_core_hours is not None else 0.0
    limit = time_limit(ledger.hours, core_hours, limits)
    if not limit:
        return None
    number, waiting = state.current, state.waiting()
    at = f"round {number} waits for {len(waiting)} labels" if waiting else f"round {number} is not done"
    return Verdict("BUDGET", f"{limit}; {at}", tests(state, config))


def _round(state: RoundState, number: int) -> Round:
    outcome, record = state.outcome(number), state.record(number)
    asked = {frame.name: frame for frame in record.frames}
    errors = {} if outcome.errors is None else outcome.errors.frames
    return Round(
        labels=len(outcome.accepted),
        picked=sum(not frame.audit for frame in asked.values()),
        frame_errors=np.array([error.force_mse for error in errors.values()]),
        audit=[asked[name].audit for name in errors],
        groups=_group_errors(asked, outcome),
        validation=state.validation_error(number),
        intervals=record.facts.intervals,
        unhealthy=record.facts.unhealthy,
        plain_unhealthy=record.facts.plain_unhealthy,
    )


def _group_errors(asked: Mapping[str, AskedFrame], outcome: RoundOutcome) -> dict[str, float]:
    """Force RMSE in eV/Å per element and per condition, on a closed round's new labels."""
    if outcome.errors is None:
        return {}
    squares: dict[str, list[float]] = {}
    for name, error in outcome.errors.frames.items():
        squares.setdefault(str(asked[name].condition), []).append(error.force_mse)
    conditions = {name: math.sqrt(sum(values) / len(values)) for name, values in squares.items()}
    return {**outcome.errors.elements, **conditions}
