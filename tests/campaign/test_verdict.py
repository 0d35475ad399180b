"""Verdicts from what rounds write down, and the tests on all new labels that version 0.1.0's campaigns keep."""

from dataclasses import replace

import numpy as np
import pytest

from tentpole.campaign.label_tests import upper_bound
from tentpole.campaign.verdict import MEANING, Criteria, Round, Verdict, judge

LIMITS = Criteria(0.05, 2, 50, 0.05, 3, None, None, None)


def good_round(error: float = 0.03, n: int = 30) -> Round:
    squares = np.full(n, error**2)
    audit = [i < 6 for i in range(n)]
    return Round(n, n - 6, squares, audit, {"H": error, "x, 300 K": error}, 0.04, 40, 0, 0)


FIRST = Round(16, 16, np.zeros(0), [], {}, 0.3, 0, 0, 0)


def kind(history: list[Round], criteria: Criteria = LIMITS, hours: float = 0.0) -> str | None:
    verdict = judge(history, hours, criteria)
    return None if verdict is None else verdict.kind


def test_all_tests_for_enough_rounds_in_a_row_is_converged() -> None:
    assert kind([FIRST, good_round()]) is None
    assert kind([FIRST, good_round(), good_round()]) == "CONVERGED"


@pytest.mark.parametrize(
    "spoil",
    [
        {"frame_errors": np.full(30, 0.06**2)},
        {"groups": {"H": 0.08}},
        {"plain_unhealthy": 1},
        {"frame_errors": np.array([0.03**2] * 26 + [0.2**2] * 4)},
        {"frame_errors": np.full(10, 0.03**2), "audit": [True] * 10},
    ],
)
def test_one_test_that_fails_is_enough_to_go_on(spoil: dict[str, object]) -> None:
    assert kind([FIRST, good_round(), replace(good_round(), **spoil)]) is None


def test_without_audit_frames_nothing_is_converged() -> None:
    blind = replace(good_round(), audit=[False] * 30)
    assert kind([FIRST, blind, blind]) is None


def test_an_error_that_is_not_finite_never_converges() -> None:
    bad = replace(good_round(), frame_errors=np.full(30, np.nan))
    assert kind([FIRST, bad, bad]) is None


def test_hard_limits_end_it_with_evidence_of_what_is_missing() -> None:
    verdict = judge([FIRST, good_round(0.2)], 0.0, replace(LIMITS, max_rounds=1))
    assert verdict is not None
    assert verdict.kind == "BUDGET"
    assert any(test.holds is False for test in verdict.evidence)
    assert kind([FIRST], replace(LIMITS, max_labels=16)) == "BUDGET"
    assert kind([FIRST], replace(LIMITS, max_hours=2.0), hours=2.5) == "BUDGET"


def test_nothing_worth_a_label_is_exhausted_coverage_not_convergence() -> None:
    empty = replace(good_round(0.2), picked=0)
    assert kind([FIRST, empty, empty]) == "COVERAGE_EXHAUSTED"


def test_md_that_goes_wrong_most_of_the_time_is_unstable() -> None:
    wild = replace(good_round(0.2), unhealthy=30)
    assert kind([FIRST, wild, wild]) == "UNSTABLE"


def test_md_that_fails_altogether_is_unstable_although_the_rule_sees_nothing() -> None:
    dead = replace(good_round(0.2), picked=0, unhealthy=40, frame_errors=np.zeros(0), audit=[])
    assert kind([FIRST, dead, dead]) == "UNSTABLE"
    assert kind([FIRST, dead, dead], replace(LIMITS, evidence="audits")) == "UNSTABLE"


def test_labels_that_no_longer_help_are_a_stall() -> None:
    stuck = [replace(good_round(0.2), validation=0.2) for _ in range(4)]
    assert kind([replace(FIRST, validation=0.2), *stuck]) == "STALLED"
    better = [replace(good_round(0.2), validation=0.2 / (i + 1)) for i in range(4)]
    assert kind([replace(FIRST, validation=0.3), *better]) is None


def test_a_verdict_survives_json() -> None:
    verdict = judge([FIRST, good_round(), good_round()], 0.0, LIMITS)
    assert verdict is not None
    assert Verdict.from_json(verdict.to_json()) == verdict
    assert verdict.meaning == MEANING["CONVERGED"]


def test_the_upper_bound_covers_the_truth_about_19_times_in_20() -> None:
    rng = np.random.default_rng(0)
    truth = np.sqrt(2.0)  # E[x] of a squared exponential-like sample below is 2
    covered = [upper_bound(rng.gamma(2.0, 1.0, size=40)) >= truth for _ in range(500)]
    assert 0.88 <= np.mean(covered) <= 0.98
    assert np.isnan(upper_bound(np.array([1.0, 2.0])))
