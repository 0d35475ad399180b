"""σ in units of error: calibration on the validation set, and the first key of two_key that the target makes of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from tentpole.campaign.evaluation import FrameErrors
from tentpole.committee.calibration import Calibration, calibrate
from tentpole.config.schema import CampaignConfig
from tentpole.selection import SelectionRule, make_rule


def calibration_facts(
    errors: FrameErrors, target_eV_per_A: float, miss_rate: float, sigma: str = "mean"
) -> dict[str, Any]:
    """Conformal calibration on the validation set, as done.json keeps it.

    fit, words : largest σ_F over a frame's atoms against its largest error. frames : σ_F of a frame, `sigma` over its
    atoms, what rules look at, against its force RMSE, what the target bounds. threshold_eV_per_A : the σ_F below which
    the error stays within the target but for a share `miss_rate` of cases; None where there are too few frames to say.
    """
    largest = calibrate(errors.max_force_std, errors.max_force_error, alpha=miss_rate)
    mean = calibrate(errors.sigma(sigma), np.sqrt(errors.force_mse), alpha=miss_rate)
    return {**_told(largest, target_eV_per_A), "frames": _told(mean, target_eV_per_A)}


def coverage(calibration: dict[str, Any], errors: FrameErrors) -> float | None:
    """Share of new frames whose largest error is within what `calibration` promised for them; None: no promise."""
    promised = calibration.get("fit")
    if promised is None or promised["scale"] is None or not len(errors.names):
        return None
    return Calibration(**promised).coverage(errors.max_force_std, errors.max_force_error)


def chooser(config: CampaignConfig, calibration: dict[str, Any]) -> tuple[SelectionRule, str]:
    """The campaign's rule after a round with that calibration, and its threshold in words ("" for other rules).

    two_key without a `sigma` of its own takes the calibrated threshold: a frame below it is within the target with
    the stated miss rate, and not worth a label. Where nothing is calibrated the rule's own default stands.
    """
    section, target = config.selection, config.target
    settings = dict(section.settings)
    if section.rule != "two_key" or settings.get("sigma") is not None:
        return make_rule(section.rule, **settings), ""
    fit = calibration.get("frames", {}).get("fit")
    known = None if fit is None else Calibration(**fit)
    if known is None or known.scale is None:
        why = "not calibrated: no validation set" if known is None else known.words
        return make_rule(section.rule, **settings), f"first key: the candidates' median σ_F ({why})"
    threshold = known.threshold(target.force_error_eV_per_A)
    words = (
        f"first key: σ_F {1e3 * threshold:.1f} meV/Å, below which a frame's force RMSE is within the target of "
        f"{1e3 * target.force_error_eV_per_A:g} meV/Å, missed in {100 * known.alpha:g} % of cases"
    )
    return make_rule(section.rule, **settings | {"sigma": threshold}), words


def _told(found: Calibration, target_eV_per_A: float) -> dict[str, Any]:
    threshold = None if found.scale is None else found.threshold(target_eV_per_A)
    return {"fit": asdict(found), "threshold_eV_per_A": threshold, "words": found.words}
