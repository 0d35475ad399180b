"""The end of a batch and of a round: outcomes fixed, errors of committees on new labels and on the validation set."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from tentpole.campaign.ahead import lag
from tentpole.campaign.batches import Request, outcome_names
from tentpole.campaign.calibration import calibration_facts, coverage, covered, limit_facts
from tentpole.campaign.canary import FEWEST, compare_committees
from tentpole.campaign.context import Context
from tentpole.campaign.evaluation import FrameErrors, frame_errors
from tentpole.campaign.facts import CanaryFacts, RoundEnd, RoundOutcome
from tentpole.campaign.journal_summary import keep_summary
from tentpole.campaign.judging import final_look_passes
from tentpole.campaign.opening import refuse_hopeless
from tentpole.campaign.paths import VALIDATION, BatchName
from tentpole.campaign.resets import walker_resets
from tentpole.campaign.training import train, under_trained
from tentpole.execution.metering import measured
from tentpole.exploration.held import moving


def close(context: Context, name: BatchName) -> None:
    """Fix what came of a batch; for explored rounds with the errors of the committee that had not seen its labels.

    Raises StateError where the initial labels are too few for a committee.
    """
    state = context.state
    accepted, failed = outcome_names(context.paths, state.batch(name))
    outcome = RoundOutcome(accepted, failed)
    explored = isinstance(name, int) and name > 0
    if explored:
        outcome = _judged(context, int(name), outcome)
    context.write(context.paths.outcome(name), outcome.to_json())
    context.journal.append("closed round", round=name, accepted=len(accepted), failed=len(failed))
    if explored:
        if outcome.errors is not None and outcome.accepted:
            new = f"{len(outcome.accepted)} new labels" if len(outcome.accepted) > 1 else "the new label"
            context.progress.note(f"round {name}: on {new}, before training on them: {outcome.errors.words}")
        _tell_resets(context, int(name))
    if name == 0:
        refuse_hopeless(state)


def _judged(context: Context, number: int, outcome: RoundOutcome) -> RoundOutcome:
    """An explored round's outcome with the errors of the committee that had not seen its labels."""
    state, before = context.state, number - 1
    section = context.config.selection
    by_audits = section.evidence == "audits"
    models = state.newest_models(before)
    context.progress.progress(f"round {number}: judging", 0, 0)
    held = _held(context, number)
    errors = _errors(context, models, outcome.accepted, stress=by_audits, held=held)
    facts = errors.facts(section.sigma if by_audits else "")
    calibration, limit = state.calibrated(before)
    outcome = replace(outcome, errors=facts, coverage=coverage(calibration, errors))
    if not by_audits:
        return outcome
    record = state.record(number)
    conditions = {frame.name: str(frame.condition) for frame in record.frames if frame.audit}
    outcome = replace(outcome, covered=covered(limit, facts.frames, conditions))
    if record.facts.final_look:
        passed = final_look_passes(state, context.config, record, outcome)
        in_words = "every test holds" if passed else "a test does not hold, the campaign goes on"
        context.progress.note(f"round {number}: final look {record.facts.final_look}: {in_words}")
        outcome = replace(outcome, passed=passed)
    return replace(outcome, canary=_canary(context, number, outcome))


def _canary(context: Context, number: int, outcome: RoundOutcome) -> CanaryFacts | None:
    """The committee in force against its predecessor, on audit frames that neither was trained on."""
    state = context.state
    earlier = state.models_before(number - 1)
    asked = {frame.name: frame for frame in state.record(number).frames if frame.audit}
    names = [name for name in outcome.accepted if name in asked]
    if earlier is None or len(names) < FEWEST or outcome.errors is None:
        return None
    old = _errors(context, earlier, names, held=_held(context, number)).force_mse
    new = np.array([outcome.errors.frames[name].force_mse for name in names])
    if not np.isfinite(old + new).all():
        return None
    walkers = [asked[name].walker for name in names]
    enough = len(set(walkers)) >= FEWEST  # of fewer walkers every frame counts as one datum
    facts = compare_committees(old, new, walkers=walkers if enough else None)
    if facts.worse:
        context.journal.append("committee worse", round=number - 1, words=facts.words)
        context.progress.note(
            f"round {number}: the committee in force became worse: {facts.words}; training goes on from the one before"
        )
    return CanaryFacts(facts.worse, facts.words)


def train_round(context: Context, number: int) -> None:
    """Train the committee of a round."""
    began = time.monotonic()
    train(context, number, context.state.labels(number))
    context.note_phase("training", time.monotonic() - began, number)


def finish_training(context: Context, number: int) -> None:
    """Train the committee in force after a round until its errors no longer fall."""
    began = time.monotonic()
    train(context, number, context.state.labels(number), finishing=True)
    context.note_phase("training", time.monotonic() - began, number)
    context.journal.append("finishing training", round=number)


def finish(context: Context, number: int) -> None:
    """End a round: judge its committee on the validation set, where there is one."""
    by_audits = context.config.selection.evidence == "audits"
    end = RoundEnd(
        limit=limit_facts(context.state, number, context.config) if by_audits else None,
        under_trained=under_trained(context.state.newest_models(number)),
    )
    if context.state.is_decided(VALIDATION):
        names = context.state.outcome(VALIDATION).accepted
        context.progress.progress(f"round {number}: judging", 0, 0)
        held = _held_in(context, context.state.batch(VALIDATION).requests)
        errors = _errors(context, context.state.newest_models(number), names, stress=by_audits, held=held)
        target, sigma = context.config.target, context.config.selection.sigma
        calibration = calibration_facts(errors, target.force_error_eV_per_A, target.miss_rate, sigma)
        end = replace(end, validation=errors.facts(sigma if by_audits else ""), calibration=calibration)
        _tell_validation(context, number, errors)
    context.write(context.paths.end(number), end.to_json())
    context.ledger.round_done(number)
    keep_summary(context.paths)


def _held(context: Context, number: int) -> dict[str, tuple[int, ...]]:
    """The atoms that constraints of the starting structures hold in place in an explored round's frames, by label."""
    frozen = _frozen(context)
    frames = context.state.record(number).frames
    return {frame.name: frozen.get(frame.condition.structure, ()) for frame in frames if frame.condition is not None}


def _held_in(context: Context, requests: Sequence[Request]) -> dict[str, tuple[int, ...]]:
    """The same for frames of no walker, by label: of the starting structures with the same atoms in the same order.

    Nothing is taken for held where such structures differ in what they hold, or there is none.
    """
    frozen, held = _frozen(context), dict[str, tuple[int, ...]]()
    for request in requests:
        numbers = request.atoms.numbers
        of = {frozen[name] for name, atoms in context.starts.items() if np.array_equal(atoms.numbers, numbers)}
        held[request.name] = of.pop() if len(of) == 1 else ()
    return held


def _frozen(context: Context) -> dict[str, tuple[int, ...]]:
    return {name: tuple(np.flatnonzero(~moving(atoms)).tolist()) for name, atoms in context.starts.items()}


def _errors(
    context: Context,
    models: Path,
    names: Sequence[str],
    *,
    stress: bool = False,
    held: Mapping[str, Sequence[int]] | None = None,
) -> FrameErrors:
    began = time.monotonic()
    files = [context.paths.label(name) for name in names]
    committee = context.config.committee
    judge = partial(frame_errors, stress=stress, evaluation=committee.evaluation, held=held)
    job = (context.root, "scoring", judge, models, committee.dtype, files)
    errors: FrameErrors = context.workers.run(measured, *job, root=context.root)
    context.note_phase("scoring", time.monotonic() - began)
    return errors


def _tell_validation(context: Context, number: int, errors: FrameErrors) -> None:
    before = context.state.validation_error(number - 1)
    told, facts = before if math.isfinite(before) else None, errors.facts("auto")
    context.journal.append("validation", round=number, force_rmse_eV_per_A=facts.force_rmse, before=told)
    context.progress.note(
        f"round {number}: {context.state.count(number)} labels; on {len(errors.names)} held-out frames: "
        f"{facts.words}" + ("" if told is None else f" (forces before: {1000 * told:.1f})")
    )
    if errors.collapsed:
        context.progress.note(f"round {number}: {errors.likeness}")


def _tell_resets(context: Context, number: int) -> None:
    for reset in walker_resets(context.state, number, lag(context)):
        if reset.after == number:
            context.journal.append("walker sent back", walker=reset.walker, round=reset.round, reason=reset.message)
            context.progress.note(
                f"round {number}: walker {reset.walker} goes back to before step {reset.before} with new velocities, "
                f"from round {reset.round} on: {reset.message}"
            )
