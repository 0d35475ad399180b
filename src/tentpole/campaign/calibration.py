"""σ in units of error: calibration on the validation set, and the first key of two_key that the target makes of it."""

from __future__ import annotations

import numpy as np

from tentpole.campaign.evaluation import FrameErrors
from tentpole.campaign.facts import CalibrationFacts, SigmaScale
from tentpole.committee.calibration import Calibration, calibrate
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
    largest = calibrate(errors.max_force_std, errors.max_force_error, alpha=miss_rate)
    frames = calibrate(errors.sigma(sigma), np.sqrt(errors.force_mse), alpha=miss_rate)
    return CalibrationFacts(_scale(largest, target_eV_per_A), _scale(frames, target_eV_per_A))


def coverage(calibration: CalibrationFacts | None, errors: FrameErrors) -> float | None:
    """Share of new frames whose largest error is within what `calibration` promised for them; None: no promise."""
    if calibration is None or calibration.largest.fit.scale is None or not len(errors.names):
        return None
    return calibration.largest.fit.coverage(errors.max_force_std, errors.max_force_error)


def chooser(config: CampaignConfig, calibration: CalibrationFacts | None) -> tuple[SelectionRule, str]:
    """The campaign's rule after a round with that calibration, and its threshold in words ("" for other rules).

    two_key without a `sigma` of its own takes the calibrated threshold: a frame below it is within the target with
    the stated miss rate, and not worth a label. Where nothing is calibrated the rule's own default stands.
    """
    section, target = config.selection, config.target
    settings = dict(section.settings)
    if section.rule != "two_key" or settings.get("sigma") is not None:
        return make_rule(section.rule, **settings), ""
    fit = None if calibration is None or calibration.frames is None else calibration.frames.fit
    if fit is None or fit.scale is None:
        why = "not calibrated: no validation set" if fit is None else fit.words
        return make_rule(section.rule, **settings), f"first key: the candidates' median σ_F ({why})"
    threshold = fit.threshold(target.force_error_eV_per_A)
    words = (
        f"first key: σ_F {1e3 * threshold:.1f} meV/Å, below which a frame's force RMSE is within the target of "
        f"{1e3 * target.force_error_eV_per_A:g} meV/Å, missed in {100 * fit.alpha:g} % of cases"
    )
    return make_rule(section.rule, **settings | {"sigma": threshold}), words


def _scale(fit: Calibration, target_eV_per_A: float) -> SigmaScale:
    threshold = None if fit.scale is None else fit.threshold(target_eV_per_A)
    return SigmaScale(fit, threshold, fit.words)
