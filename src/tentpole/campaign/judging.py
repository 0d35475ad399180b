"""The rounds that are done, as the verdict's tests take them, and the verdict on them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from tentpole.campaign import audit_tests
from tentpole.campaign.batches import AskedFrame, BatchRecord
from tentpole.campaign.confidence import Look
from tentpole.campaign.facts import RoundOutcome
from tentpole.campaign.ledger import Ledger
from tentpole.campaign.projection import Projection
from tentpole.campaign.settings_history import SettingsHistory
from tentpole.campaign.state import RoundState
from tentpole.campaign.verdict import (
    Audits,
    Criteria,
    Evidence,
    Round,
    Verdict,
    evidence,
    judge,
    stalls_for_lack_of_updates,
    time_limit,
)
from tentpole.committee.committee_files import is_whole
from tentpole.config.checks import audited_frames, can_finish
from tentpole.config.schema import CampaignConfig
from tentpole.config.walkers import judged_conditions, turns_of
from tentpole.records import Condition


def criteria(config: CampaignConfig) -> Criteria:
    """The verdict's settings, from the campaign file."""
    target, stop = config.target, config.stop
    conditions = judged_conditions(config)
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
        evidence=config.selection.evidence,
        energy_error_eV_per_atom=target.energy_error_eV_per_atom,
        stress_error_GPa=target.stress_error_GPa,
        final_audits=target.final_audits,
        failed=target.failed,
        conditions=tuple(str(condition) for condition in conditions),
        batch=config.selection.batch,
        frames=audited_frames(config),
        turns=len(turns_of(config)),
        targets={
            str(condition): bound
            for condition in conditions
            if (bound := config.force_error_of(condition.structure)) != target.force_error_eV_per_A
        },
        systems=_systems(config, conditions),
    )


def _systems(config: CampaignConfig, conditions: Sequence[Condition]) -> dict[str, tuple[str, ...]]:
    """The conditions of each system; {} where none is stated or there is one alone."""
    tests_of: dict[str, tuple[str, ...]] = {}
    for condition in conditions:
        name = config.systems[condition.structure]
        tests_of[name] = (*tests_of.get(name, ()), str(condition))
    told = any(section.system for section in config.structures) or config.target.force_errors_eV_per_A
    return tests_of if told and len(tests_of) > 1 else {}


def history(state: RoundState) -> list[Round]:
    """All rounds that are done, the initial one first."""
    return [_round(state, number) for number in range(state.current)]


def tests(rounds: Sequence[Round], config: CampaignConfig) -> tuple[Evidence, ...]:
    """The tests of convergence on the rounds that are done."""
    return evidence(rounds, criteria(config))


def judge_rounds(state: RoundState, settings: SettingsHistory, ledger: Ledger) -> Verdict | None:
    """The verdict on the rounds that are done, or None: go on."""
    return judge(history(state), ledger.hours, criteria(settings.newest), ledger.core_hours, settings.since)


def out_of_time(state: RoundState, config: CampaignConfig, ledger: Ledger) -> Verdict | None:
    """BUDGET where a limit of time has passed in the middle of a round, with what the rounds before have shown."""
    limits = criteria(config)
    core_hours = ledger.core_hours if limits.max_core_hours is not None else 0.0
    limit = time_limit(ledger.hours, core_hours, limits)
    if not limit:
        return None
    number, waiting = state.current, state.waiting()
    at = f"round {number} waits for {len(waiting)} labels" if waiting else f"round {number} is not done"
    return Verdict("BUDGET", f"{limit}; {at}", tests(history(state), config))


def final_look(state: RoundState, config: CampaignConfig) -> tuple[int, int] | None:
    """Number and audit frames of the final look that the next round is to be; None for a round as any other."""
    rounds = history(state)
    size = final_look_size(rounds, config)
    return None if size is None else (1 + sum(r.final_look > 0 for r in rounds), size)


def final_look_size(rounds: Sequence[Round], config: CampaignConfig) -> int | None:
    """Audit frames of the final look that comes after these rounds; None for a round as any other."""
    limits = criteria(config)
    return audit_tests.final_look_size(rounds, limits) if limits.evidence == "audits" else None


def near_target(state: RoundState, config: CampaignConfig) -> bool:
    """Whether the errors are so near the target that what hinders a final look is worth labels."""
    limits = criteria(config)
    return limits.evidence == "audits" and audit_tests.near_target(history(state), limits)


def finishing_comes(rounds: list[Round], state: RoundState, config: CampaignConfig) -> bool:
    """Whether the committee in force is to be trained until its errors no longer fall, before the next round.

    That is before a final look, and where the error no longer falls although updates are what is missing.
    """
    if len(rounds) < 1 or not can_finish(config) or is_whole(state.paths.finished(len(rounds) - 1)):
        return False
    return final_look_size(rounds, config) is not None or stalls_for_lack_of_updates(rounds, criteria(config))


def final_look_passes(state: RoundState, config: CampaignConfig, record: BatchRecord, outcome: RoundOutcome) -> bool:
    """Whether every test holds in the final look of the round under way, which is not written down yet."""
    return audit_tests.passes(round_of(record, outcome), history(state), criteria(config))


def projection(rounds: Sequence[Round], config: CampaignConfig) -> Projection | None:
    """Labels still to come before a final look is likely to be passed; None where that cannot be said yet."""
    limits = criteria(config)
    return audit_tests.projected(rounds, limits) if limits.evidence == "audits" else None


def _round(state: RoundState, number: int) -> Round:
    trained = state.end(number).under_trained
    return round_of(state.record(number), state.outcome(number), state.validation_error(number), trained)


def round_of(record: BatchRecord, outcome: RoundOutcome, validation: float = math.nan, under_trained: int = 0) -> Round:
    """A closed round as the tests take it. `validation` : force RMSE in eV/Å on the fixed set."""
    asked, accepted = {frame.name: frame for frame in record.frames}, set(outcome.accepted)
    errors = {} if outcome.errors is None else outcome.errors.frames
    brinks = {frame.name: frame for frame in asked.values() if frame.id in record.facts.brinks}
    return Round(
        labels=len(outcome.accepted),
        picked=sum(not frame.audit for frame in asked.values()) - sum(not frame.audit for frame in brinks.values()),
        frame_errors=np.array([error.force_mse for error in errors.values()]),
        audit=[asked[name].audit for name in errors],
        groups=_group_errors(asked, outcome),
        validation=validation,
        intervals=record.facts.intervals,
        unhealthy=record.facts.unhealthy,
        plain_unhealthy=record.facts.plain_unhealthy,
        parted=record.facts.parted,
        brinks=tuple(
            (str(frame.condition), errors[name].force_mse if name in errors else math.inf)
            for name, frame in brinks.items()
        ),
        asked=len(asked),
        failed=len(asked.keys() - accepted),
        candidates=record.facts.candidates,
        audits=audits_of(asked, outcome),
        final_look=record.facts.final_look,
        passed=bool(outcome.passed),
        finished=record.facts.finished,
        under_trained=under_trained,
    )


def audits_of(asked: Mapping[str, AskedFrame], outcome: RoundOutcome) -> Audits:
    """The audit frames of a closed round; those without a label or a finite error are counted as failed."""
    errors = {} if outcome.errors is None else outcome.errors.frames
    names = [name for name, frame in asked.items() if frame.audit]
    known = {name: errors[name] for name in names if name in errors and math.isfinite(errors[name].force_mse)}
    return Audits(
        look=Look(
            np.array([error.force_mse for error in known.values()]),
            tuple(str(asked[name].condition) for name in known),
            tuple(asked[name].walker for name in known),
        ),
        energy=np.array([error.energy_error for error in known.values()]),
        stress=np.array([math.nan if e.stress_error is None else e.stress_error for e in known.values()]),
        failed=len(names) - len(known),
    )


def _group_errors(asked: Mapping[str, AskedFrame], outcome: RoundOutcome) -> dict[str, float]:
    """Force RMSE in eV/Å per element and per condition, on a closed round's new labels."""
    if outcome.errors is None:
        return {}
    squares: dict[str, list[float]] = {}
    for name, error in outcome.errors.frames.items():
        squares.setdefault(str(asked[name].condition or "initial"), []).append(error.force_mse)
    conditions = {name: math.sqrt(sum(values) / len(values)) for name, values in squares.items()}
    return {**outcome.errors.elements, **conditions}
