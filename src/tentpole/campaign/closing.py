"""The end of a batch and of a round: outcomes fixed, errors of committees on new labels and on the validation set."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path

from tentpole.campaign.ahead import lag
from tentpole.campaign.batches import outcome_names
from tentpole.campaign.calibration import calibration_facts, coverage
from tentpole.campaign.context import Context
from tentpole.campaign.evaluation import FrameErrors, frame_errors
from tentpole.campaign.facts import RoundEnd, RoundOutcome
from tentpole.campaign.opening import refuse_hopeless
from tentpole.campaign.paths import VALIDATION, BatchName
from tentpole.campaign.resets import walker_resets
from tentpole.campaign.training import train
from tentpole.execution.metering import measured


def close(context: Context, name: BatchName) -> None:
    """Fix what came of a batch; for explored rounds with the errors of the committee that had not seen its labels.

    Raises StateError where the initial labels are too few for a committee.
    """
    state = context.state
    accepted, failed = outcome_names(context.paths, state.batch(name))
    outcome = RoundOutcome(accepted, failed)
    explored = isinstance(name, int) and name > 0
    if explored:
        before = int(name) - 1
        errors = _errors(context, state.newest_models(before), accepted)
        outcome = RoundOutcome(accepted, failed, errors.facts, coverage(state.end(before).calibration, errors))
    context.write(context.paths.outcome(name), outcome.to_json())
    context.journal.append("closed round", round=name, accepted=len(accepted), failed=len(failed))
    if explored:
        _tell_resets(context, int(name))
    if name == 0:
        refuse_hopeless(state)


def train_round(context: Context, number: int) -> None:
    """Train the committee of a round."""
    began = time.monotonic()
    train(context, number, context.state.labels(number))
    context.note_phase("training", time.monotonic() - began, number)


def finish(context: Context, number: int) -> None:
    """End a round: judge its committee on the validation set, where there is one."""
    end = RoundEnd()
    if context.state.is_decided(VALIDATION):
        names = context.state.outcome(VALIDATION).accepted
        errors = _errors(context, context.state.newest_models(number), names)
        target, sigma = context.config.target, context.config.selection.sigma
        calibration = calibration_facts(errors, target.force_error_eV_per_A, target.miss_rate, sigma)
        end = RoundEnd(errors.facts, calibration)
        _tell_validation(context, number, errors)
    context.write(context.paths.end(number), end.to_json())
    context.journal.append("round done", round=number)


def _errors(context: Context, models: Path, names: Sequence[str]) -> FrameErrors:
    began = time.monotonic()
    files = [context.paths.label(name) for name in names]
    job = (context.root, "scoring", frame_errors, models, context.config.committee.dtype, files)
    errors: FrameErrors = context.workers.run(measured, *job, root=context.root)
    context.note_phase("scoring", time.monotonic() - began)
    return errors


def _tell_validation(context: Context, number: int, errors: FrameErrors) -> None:
    before = context.state.validation_error(number - 1)
    told = before if math.isfinite(before) else None
    context.journal.append("validation", round=number, force_rmse_eV_per_A=errors.force_rmse, before=told)
    context.progress.note(
        f"round {number}: {context.state.count(number)} labels, force RMSE on {len(errors.names)} held-out frames "
        f"{1000 * errors.force_rmse:.1f} meV/Å" + ("" if told is None else f" (before: {1000 * told:.1f})")
    )
    if errors.alike:
        context.progress.note(f"round {number}: {errors.likeness}")


def _tell_resets(context: Context, number: int) -> None:
    for reset in walker_resets(context.state, number, lag(context)):
        if reset.after == number:
            context.journal.append("walker sent back", walker=reset.walker, round=reset.round, reason=reset.message)
            context.progress.note(
                f"round {number}: walker {reset.walker} goes back to before step {reset.before} with new velocities, "
                f"from round {reset.round} on: {reset.message}"
            )
