"""σ in units of error: calibration on audit frames or on the validation set, and two_key's first key by the target."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from tentpole.campaign.evaluation import FrameErrors
from tentpole.campaign.facts import CalibrationFacts, FrameError, LimitFacts, SigmaScale
from tentpole.campaign.state import RoundState
from tentpole.committee.calibration import Calibration, calibrate
from tentpole.committee.prediction_limit import fit_prediction_limit, next_alpha
from tentpole.config.schema import CampaignConfig
from tentpole.selection import SelectionRule, make_rule


def calibration_facts(
    errors: FrameErrors, target_eV_per_A: float, miss_rate: float, sigma: str = "mean"
) -> CalibrationFacts:
    """Conformal calibration on the validation set.

    `sigma` is what rules look at: a frame's σ_F as `Scores.sigma` has it. The threshold of each scale is the σ_F below
    which the error stays within the target but for a share `miss_rate` of cases; None where there are too few frames
    to say.
    """
    sound = errors.sound
    largest = calibrate(errors.max_force_std[sound], errors.max_force_error[sound], alpha=miss_rate)
    frames = calibrate(errors.sigma(sigma)[sound], np.sqrt(errors.force_mse[sound]), alpha=miss_rate)
    return CalibrationFacts(_scale(largest, target_eV_per_A), _scale(frames, target_eV_per_A))


def coverage(calibration: CalibrationFacts | None, errors: FrameErrors) -> float | None:
    """Share of new frames whose largest error is within what `calibration` promised for them; None: no promise.

    A frame on which a member's prediction is not finite is not within it.
    """
    if calibration is None or calibration.largest.fit.scale is None or not len(errors.names):
        return None
    return calibration.largest.fit.coverage(errors.max_force_std, errors.max_force_error)


def limit_facts(state: RoundState, number: int, config: CampaignConfig) -> LimitFacts | None:
    """What σ is worth after round `number`, by the audit frames of all rounds; None where there are none.

    Each was judged by the committee that was not trained on it; a frame counts half as much with every round since.
    Committees that were trained until their errors no longer fell agree several times better than those of a short
    training, and err nearly as much: each kind is spoken of by the frames that it has judged, and theirs has the miss
    rate asked for; that of others follows what was missed of the promises made before. Where the committee in force has
    judged frames itself those alone count, else the limit is that of another committee than those that judged.
    """
    target, paths, speaks_of = config.target, state.paths, state.newest_models(number)
    finished = paths.is_finished(speaks_of)
    judges = {past: state.newest_models(past - 1) for past in range(1, number + 1)}
    own = [past for past, judge in judges.items() if judge == speaks_of]
    rounds = own or [past for past, judge in judges.items() if paths.is_finished(judge) == finished]
    held = {past: _judged(state, past, float(number - past)) for past in rounds}
    frames = [frame for one in held.values() for frame in one]
    if not frames:
        return None
    alpha = target.miss_rate if finished else _alpha(state, number, target.miss_rate)
    sigma, error, ages, conditions = zip(*frames, strict=True)
    limit = fit_prediction_limit(
        sigma,
        error,
        ages=ages,
        conditions=conditions,
        committees=None if own else [past for past, one in held.items() for _ in one],
        members=config.committee.members,
        alpha=alpha,
    )
    threshold = None if not limit.scale else limit.threshold(target.force_error_eV_per_A)
    return LimitFacts(limit, threshold)


_Judged = tuple[float, float, float, str]
"""σ_F and RMSE in eV/Å, age in rounds and condition of an audit frame."""


def _judged(state: RoundState, number: int, age: float) -> list[_Judged]:
    """The audit frames of a round that have a finite σ and error."""
    asked = {frame.name: frame for frame in state.record(number).frames if frame.audit}
    known = state.outcome(number).errors
    return [
        (frame.sigma or 0.0, frame.force_rmse, age, str(asked[name].condition))
        for name, frame in ({} if known is None else known.frames).items()
        if name in asked and _finite(frame)
    ]


def _finite(frame: FrameError) -> bool:
    return frame.sigma is not None and math.isfinite(frame.sigma + frame.force_mse)


def _alpha(state: RoundState, number: int, miss_rate: float) -> float:
    before = state.end(number - 1).limit if number else None
    if before is None:
        return miss_rate
    within, frames = state.outcome(number).covered or (0, 0)
    return min(next_alpha(before.limit.alpha, frames - within, frames, wanted=miss_rate), 0.5)


def covered(
    limit: LimitFacts | None, frames: Mapping[str, FrameError], conditions: Mapping[str, str]
) -> tuple[int, int] | None:
    """How many audit frames had an error within what `limit` promised before they were labelled, of how many.

    Those on which a member's prediction is not finite had not. conditions : of the audit frames, by label name. None
    where nothing was promised.
    """
    known = {name: frame for name, frame in frames.items() if name in conditions and _finite(frame)}
    failed = sum(name in conditions and not math.isfinite(frame.force_mse) for name, frame in frames.items())
    if limit is None or limit.limit.scale is None or not len(known) + failed:
        return None
    within = limit.limit.covers(
        [frame.sigma or 0.0 for frame in known.values()],
        [frame.force_rmse for frame in known.values()],
        [conditions[name] for name in known],
    )
    return sum(within), len(known) + failed


def chooser(
    config: CampaignConfig, calibration: CalibrationFacts | None, limit: LimitFacts | None = None
) -> tuple[SelectionRule, str]:
    """The campaign's rule after a round with that calibration, and its threshold in words ("" for other rules).

    two_key without a `sigma` of its own takes the calibrated threshold, by audit frames where they give one, else by
    the validation set: a frame below it is within the target with the stated miss rate, and not worth a label. Where
    nothing is calibrated the rule's own default stands.
    """
    section, target = config.selection, config.target
    settings = dict(section.settings)
    if section.rule != "two_key" or settings.get("sigma") is not None:
        return make_rule(section.rule, **settings), ""
    fit = None if calibration is None or calibration.frames is None else calibration.frames.fit
    if limit is not None and limit.limit.scale:
        threshold, alpha = limit.limit.threshold(target.force_error_eV_per_A), limit.limit.alpha
    elif fit is not None and fit.scale is not None:
        threshold, alpha = fit.threshold(target.force_error_eV_per_A), fit.alpha
    else:
        why = "not calibrated: no validation set" if fit is None else fit.words
        why = why if limit is None else limit.limit.words
        return make_rule(section.rule, **settings), f"first key: the candidates' median σ_F ({why})"
    words = (
        f"first key: σ_F {1e3 * threshold:.1f} meV/Å, below which a frame's force RMSE is within the target of "
        f"{1e3 * target.force_error_eV_per_A:g} meV/Å, missed in {100 * alpha:.3g} % of cases"
    )
    return make_rule(section.rule, **settings | {"sigma": threshold}), words


def _scale(fit: Calibration, target_eV_per_A: float) -> SigmaScale:
    threshold = None if fit.scale is None else fit.threshold(target_eV_per_A)
    return SigmaScale(fit, threshold, fit.words)
