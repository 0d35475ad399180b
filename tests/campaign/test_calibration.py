"""The error target becomes the first key of two_key, by calibration, with a stated miss rate."""

import json
from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from tentpole.campaign.batches import Request
from tentpole.campaign.calibration import calibration_facts, chooser, coverage, covered
from tentpole.campaign.evaluation import FrameErrors, frame_errors
from tentpole.campaign.facts import ErrorFacts, FrameError, LimitFacts
from tentpole.committee import AseVoter, Committee
from tentpole.committee.prediction_limit import fit_prediction_limit
from tentpole.config.schema import CampaignConfig, SelectionSection, TargetSection
from tentpole.selection import TwoKey, Uncertainty
from tentpole.storage.labels import write_label
from tentpole.training import network_voter


def errors(n: int) -> FrameErrors:
    """n frames whose force RMSE is 1, 2, 3 ... percent of 3 σ, and whose largest error is twice its σ."""
    sigma = np.full(n, 0.01)
    rmse = 0.03 * np.arange(1, n + 1) / n
    none = np.zeros(n)
    return FrameErrors(
        tuple(map(str, range(n))), rmse**2, none, sigma, sigma, 2 * sigma, none + 3, {}, np.zeros((0, 2))
    )


def config(**selection: object) -> CampaignConfig:
    return CampaignConfig.model_construct(
        selection=SelectionSection(**selection), target=TargetSection(force_error_eV_per_A=0.06, miss_rate=0.1)
    )


def test_the_threshold_is_the_target_over_the_conformal_scale():
    facts = calibration_facts(errors(99), 0.06, 0.1)
    scale = 3.0 * 90 / 99  # the 90th of 99 ratios: ceil(100 * 0.9)
    assert facts.frames.fit.scale == pytest.approx(scale)
    found, words = chooser(config(rule="two_key", settings={"gain": 0.5}), facts)
    assert isinstance(found, TwoKey)
    assert found.sigma == pytest.approx(0.06 / scale)
    assert found.gain == 0.5
    assert "within the target of 60 meV/Å, missed in 10 % of cases" in words


def test_below_the_minimum_the_uncalibrated_rule_stands_and_says_so():
    found, words = chooser(config(rule="two_key"), calibration_facts(errors(8), 0.06, 0.1))
    assert found == TwoKey()
    assert "8 held-out structures" in words
    found, words = chooser(config(rule="two_key"), None)
    assert found == TwoKey()
    assert "no validation set" in words


def test_a_threshold_of_ones_own_and_other_rules_are_left_alone():
    facts = calibration_facts(errors(99), 0.06, 0.1)
    assert chooser(config(rule="two_key", settings={"sigma": 0.3}), facts) == (TwoKey(sigma=0.3), "")
    assert chooser(config(rule="uncertainty"), facts) == (Uncertainty(), "")


def test_coverage_is_that_of_the_largest_errors():
    facts = calibration_facts(errors(99), 0.06, 0.1)
    worse = replace(errors(10), max_force_error=np.array([0.01] * 7 + [0.03] * 3))
    assert coverage(facts, worse) == pytest.approx(0.7)
    assert coverage(None, worse) is None


def test_audit_frames_give_the_threshold_and_come_before_the_validation_set():
    limit = fit_prediction_limit([0.01] * 30, [0.03] * 30, alpha=0.1)
    found, words = chooser(
        config(rule="two_key"), calibration_facts(errors(99), 0.06, 0.1), LimitFacts(limit, limit.threshold(0.06))
    )
    assert isinstance(found, TwoKey)
    assert found.sigma == pytest.approx(0.02)
    assert "missed in 10 % of cases" in words
    none = fit_prediction_limit([0.01], [0.03])
    found, words = chooser(config(rule="two_key"), None, LimitFacts(none, None))
    assert found == TwoKey()
    assert "not calibrated: 1 audit frames" in words


def test_promises_are_counted_on_audit_frames_alone():
    limit = LimitFacts(fit_prediction_limit([0.01] * 30, [0.03] * 30), None)
    frame = FrameError(0.02**2, 0.0, 0.01, 0.01, 0.02, sigma=0.01)
    frames = {
        "a": frame,
        "b": frame._replace(force_mse=0.04**2),
        "c": frame,
        "d": frame._replace(force_mse=float("nan")),
    }
    assert covered(limit, frames, {"a": "x", "b": "x", "d": "x"}) == (1, 3)
    assert covered(None, frames, {"a": "x"}) is None
    assert LimitFacts.from_json(json.loads(json.dumps(limit.to_json()))) == limit


class Overflowing(EMT):
    """Says nothing of a cell of more than 60 Å³."""

    def calculate(self, atoms, *rest):
        super().calculate(atoms, *rest)
        if atoms.get_volume() > 60:
            self.results["forces"] = np.full_like(self.results["forces"], np.nan)


def test_a_label_on_which_a_prediction_is_not_finite_counts_as_failed_and_the_others_are_judged(tmp_path, monkeypatch):
    monkeypatch.setattr(network_voter, "members_in", lambda *_: Committee([AseVoter(EMT()), AseVoter(Overflowing())]))
    files = []
    for scale in (1.0, 1.01, 1.1):
        atoms = bulk("Cu", cubic=True)
        atoms.set_cell(scale * atoms.cell, scale_atoms=True)
        atoms.calc = EMT()
        label = Request("x", atoms, "0" * 16, None, None).label(atoms.get_potential_energy(), atoms.get_forces())
        files.append(write_label(tmp_path, label))
    found = frame_errors(tmp_path, "float64", files)
    assert found.sound.tolist() == [True, True, False]
    assert found.max_force_error[:2] == pytest.approx([0, 0], abs=1e-9)
    facts = found.facts("mean")
    assert facts.words == "no errors known"
    kept = ErrorFacts.from_json(json.loads(json.dumps(facts.to_json(), allow_nan=False)))
    assert [np.isfinite(frame.force_mse) for frame in kept.frames.values()] == [True, True, False]
    assert coverage(calibration_facts(errors(99), 0.06, 0.1), found) == pytest.approx(2 / 3)
    assert calibration_facts(found, 0.06, 0.1).largest.fit.cases == 2
    limit = LimitFacts(fit_prediction_limit([0.01] * 30, [0.02] * 30), None)
    assert [covered(limit, one.frames, dict.fromkeys(kept.frames, "300 K")) for one in (facts, kept)] == [(2, 3)] * 2
