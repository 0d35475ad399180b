"""Verdicts on audit frames: a gate, one clean look at fresh frames, and what stands in the way of it."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from tentpole.campaign.audit_tests import converged, final_look_size, passes, projected, stalled
from tentpole.campaign.confidence import Look
from tentpole.campaign.verdict import Audits, Criteria, Round, judge, stalls_for_lack_of_updates

CRITERIA = Criteria(
    0.05, 2, 20, 0.05, 5, None, None, None, evidence="audits", conditions=("x, 300 K",), batch=20, frames=100
)
FIRST = Round(20, 0, np.zeros(0), [], {}, np.nan, 0, 0, 0, asked=20)


def audits(rmse: float, n: int, seed: int = 0, **changes: object) -> Audits:
    """n frames whose squared errors scatter log-normally (s² = 0.25) about `rmse`²."""
    x = np.exp(0.5 * np.random.default_rng(seed).standard_normal(n))
    squares = rmse**2 * x / x.mean() if n else x
    look = Look(squares, ("x, 300 K",) * n, ("w00",) * n)
    return replace(Audits(look, np.full(n, 1e-3), np.full(n, np.nan)), **changes)


def explored(rmse: float, n: int = 6, *, picked: int = 14, seed: int = 0, **changes: object) -> Round:
    one = Round(n + picked, picked, np.zeros(0), [], {}, np.nan, 40, 0, 0, asked=n + picked, candidates=80)
    return replace(replace(one, audits=audits(rmse, n, seed)), **changes)


def final(rmse: float, number: int = 1, n: int = 20, **changes: object) -> Round:
    return explored(rmse, n, picked=0, seed=9, final_look=number, **changes)


def campaign(true_rmse: list[float], criteria: Criteria = CRITERIA) -> tuple[str | None, list[Round]]:
    """A campaign with defaults whose committee after round k has that true error, to its verdict."""
    history = [FIRST]
    for k, rmse in enumerate(true_rmse):
        if (size := final_look_size(history, criteria)) is not None:
            look = final(rmse, 1 + sum(r.final_look > 0 for r in history), size)
            history.append(replace(look, passed=passes(look, history, criteria)))
        else:
            history.append(explored(rmse, seed=k))
        if (verdict := judge(history, 0.0, criteria)) is not None:
            return verdict.kind, history
    return None, history


def test_converged_is_reached_with_defaults() -> None:
    kind, history = campaign([0.2, 0.1, 0.06, 0.04, 0.03, 0.03, 0.03, 0.03])
    assert kind == "CONVERGED"
    assert len(history[-1].audits) == 20
    assert sum(r.final_look > 0 for r in history) <= 2


def test_a_campaign_above_the_target_never_converges() -> None:
    kind, history = campaign([0.2, 0.1, *[0.06] * 4])
    assert kind is None
    assert not any(r.final_look for r in history)


def test_the_gate_opens_before_and_only_a_look_that_passes_converges() -> None:
    history = [FIRST, explored(0.04), explored(0.035)]
    assert final_look_size(history, CRITERIA) == 20
    assert judge(history, 0.0, CRITERIA) is None
    good = final(0.035)
    assert passes(good, history, CRITERIA)
    assert converged([*history, replace(good, passed=True)], CRITERIA)
    bad = final(0.049)
    assert not passes(bad, history, CRITERIA)
    assert judge([*history, replace(bad, passed=False)], 0.0, CRITERIA) is None
    # a committee that was trained on the look's frames is another one: what was found is not found of it
    assert not converged([*history, replace(good, passed=False)], CRITERIA)
    assert not converged([*history, replace(good, passed=True), explored(0.035)], CRITERIA)


def test_a_later_look_wants_more_than_the_first() -> None:
    history = [FIRST, explored(0.04), explored(0.035)]
    at = next(e for e in np.linspace(0.03, 0.05, 41) if not passes(final(e), history, CRITERIA))
    failed = [final(0.06, k) for k in (1, 2, 3)]
    assert passes(final(at - 0.001), history, CRITERIA)
    assert not passes(final(at - 0.001, 4), [*history, *failed], CRITERIA)


@pytest.mark.parametrize(
    "spoil",
    [
        {"plain_unhealthy": 1},
        {"audits": audits(0.035, 20, 9, failed=3), "failed": 3, "asked": 23},
        {"failed": 5, "asked": 25},
        {"audits": audits(0.035, 10, 9)},
        {"audits": Audits(Look([0.03**2] * 18 + [0.16**2] * 2, ("x, 300 K",) * 20), np.zeros(20), np.full(20, np.nan))},
    ],
)
def test_one_test_that_fails_spoils_the_look(spoil: dict[str, object]) -> None:
    history = [FIRST, explored(0.04), explored(0.035)]
    assert passes(final(0.035), history, CRITERIA)
    assert not passes(final(0.035, **spoil), history, CRITERIA)


def test_energy_and_stress_are_told_and_test_only_where_a_target_is_stated() -> None:
    history, look = [FIRST, explored(0.04), explored(0.035)], final(0.035)
    assert passes(look, history, CRITERIA)
    assert passes(look, history, replace(CRITERIA, energy_error_eV_per_atom=0.002))
    assert not passes(look, history, replace(CRITERIA, energy_error_eV_per_atom=0.0005))
    assert not passes(look, history, replace(CRITERIA, stress_error_GPa=1.0))  # no label has one
    assert final_look_size(history, replace(CRITERIA, energy_error_eV_per_atom=0.0005)) is None
    told = [t for t in judge(history, 0.0, replace(CRITERIA, max_rounds=2)).evidence if "energy" in t.test]
    assert [(t.bound, t.holds) for t in told] == [(None, None)]
    assert told[0].value == pytest.approx(1e-3)


def test_every_condition_must_hold_and_one_without_frames_does_not() -> None:
    two = replace(CRITERIA, conditions=("x, 300 K", "x, 600 K"))
    history, look = [FIRST, explored(0.04), explored(0.035)], final(0.03)
    assert not passes(look, history, two)
    assert final_look_size(history, two) is None
    squares = np.concatenate([audits(0.02, 12).look.squares, audits(0.06, 8).look.squares])
    names = ("x, 300 K",) * 12 + ("x, 600 K",) * 8
    mixed = replace(look, audits=Audits(Look(squares, names), np.zeros(20), np.full(20, np.nan)))
    assert not passes(mixed, history, two)


def test_a_silent_rule_above_the_target_is_not_exhausted_coverage() -> None:
    silent = explored(0.5, 6, picked=0)
    assert judge([FIRST, silent, silent], 0.0, CRITERIA) is None  # audit frames are labels too: it goes on to learn
    without = replace(silent, labels=0)
    verdict = judge([FIRST, without, without], 0.0, CRITERIA)
    assert verdict is not None
    assert verdict.kind == "STARVED"
    nothing = replace(explored(0.5, 0, picked=0), labels=0)
    verdict = judge([FIRST, nothing, nothing], 0.0, CRITERIA)
    assert verdict is not None
    assert verdict.kind == "COVERAGE_EXHAUSTED"
    few = replace(nothing, candidates=10)
    assert judge([FIRST, few, few], 0.0, CRITERIA) is None


def test_a_stall_needs_no_validation_set() -> None:
    stuck = [explored(0.2, seed=k % 5) for k in range(10)]
    verdict = judge([FIRST, *stuck], 0.0, CRITERIA)
    assert verdict is not None
    assert verdict.kind == "STALLED"
    verdict = judge([FIRST, *(replace(r, picked=0) for r in stuck)], 0.0, CRITERIA)
    assert verdict is not None
    assert verdict.kind == "STARVED"
    falling = [explored(0.4 * 0.9**k, seed=k) for k in range(10)]
    assert judge([FIRST, *falling], 0.0, CRITERIA) is None


def test_a_few_rounds_whose_errors_scatter_do_not_end_a_campaign_that_still_learns() -> None:
    """RMSE on audit frames as a campaign had them, whose committees' true errors fell from 12.9 to 5.0."""
    seen = [6.8, 12.5, 7.5, 7.0, 4.3, 5.8, 3.9, 3.5, 5.4, 3.3, 8.0, 8.2, 4.6, 2.8]
    history = [FIRST, *(explored(error, seed=k) for k, error in enumerate(seen))]
    criteria = replace(CRITERIA, force_error_eV_per_A=4.0)
    assert not stalled(history, criteria)
    at_last = [*history, *(explored(4.8 + 0.3 * (-1) ** k, seed=k) for k in range(14))]
    assert stalled(at_last, criteria)


def test_a_look_that_the_budget_has_no_room_for_is_not_begun() -> None:
    history = [FIRST, explored(0.04), explored(0.035)]
    assert final_look_size(history, replace(CRITERIA, max_labels=80)) == 20
    assert final_look_size(history, replace(CRITERIA, max_labels=79)) is None


def test_a_look_waits_where_waiting_saves_labels_and_is_larger_where_the_error_is_near_the_target() -> None:
    steep = [FIRST, explored(0.2), explored(0.1), explored(0.06), explored(0.045)]
    assert final_look_size(steep, CRITERIA) == 20  # the next committee is expected far below the target
    flat = [FIRST, *(explored(0.047, seed=k) for k in range(12))]
    assert 25 <= (final_look_size(flat, CRITERIA) or 0) <= 100
    assert final_look_size(flat, replace(CRITERIA, frames=20)) is None  # no more are visited than suffice
    assert final_look_size([FIRST, *(explored(0.052, seed=k) for k in range(12))], CRITERIA) is None


def test_a_look_that_failed_by_one_condition_is_not_made_again_of_the_same_size() -> None:
    """Two conditions err alike by their RMSE, the errors of one spread twice as far: 20 frames of it bound little."""
    names = ("x, 300 K", "x, 600 K")
    two = replace(CRITERIA, conditions=names, frames=40)

    def scattered(n: int, narrow: float, wide: float) -> Audits:
        quantiles = norm.ppf((np.arange(n // 2) + 0.5) / (n // 2))
        parts = [np.exp(spread * quantiles) for spread in (narrow, wide)]
        squares = np.concatenate([0.036**2 * part / part.mean() for part in parts])
        look = Look(squares, tuple(np.repeat(names, n // 2)), tuple(f"w{k % 6}" for k in range(n)))
        return Audits(look, np.zeros(n), np.full(n, np.nan))

    rounds = [FIRST, *(replace(explored(0.04), audits=scattered(8, 0.7, 0.7)) for _ in range(6))]
    assert final_look_size(rounds, two) is not None
    for spreads, again in (((0.7, 0.7), True), ((0.4, 1.0), False)):
        failed = replace(final(0.04, n=40), audits=scattered(40, *spreads), passed=False)
        assert (final_look_size([*rounds, failed], two) is not None) == again


def test_labels_still_to_come_are_projected_from_the_third_round_on() -> None:
    history = [FIRST, *(explored(0.4 / (k + 1), seed=k) for k in range(4))]
    found = projected(history, CRITERIA)
    assert found is not None
    assert found.more is not None
    assert found.more > 20
    assert projected(history[:3], CRITERIA) is None


def test_a_stall_of_members_that_lack_updates_is_no_verdict_until_they_were_trained_to_their_end() -> None:
    stuck = [explored(0.2, seed=k % 5) for k in range(10)]
    short = [FIRST, *stuck[:-1], replace(stuck[-1], under_trained=2)]
    assert judge(short, 0.0, CRITERIA) is None
    assert stalls_for_lack_of_updates(short, CRITERIA)
    finished = [FIRST, *stuck[:-1], replace(stuck[-1], under_trained=2, finished=True)]
    verdict = judge(finished, 0.0, CRITERIA)
    assert verdict is not None
    assert verdict.kind == "STALLED"
    assert [(t.test, t.value) for t in verdict.evidence][-1] == ("under-trained members of the committee in force", 2.0)
    assert not stalls_for_lack_of_updates(finished, CRITERIA)


def test_rounds_under_other_settings_are_not_held_against_the_newest() -> None:
    history = [FIRST, *(explored(0.2, n=20, seed=k) for k in range(12))]
    assert judge(history, 0.0, CRITERIA).kind == "STALLED"
    assert judge(history, 0.0, CRITERIA, since=9) is None  # four rounds since
    assert judge(history, 0.0, CRITERIA, since=13) is None  # no round yet
    assert judge(history, 0.0, CRITERIA, since=3).kind == "STALLED"
    broken = [replace(r, unhealthy=r.intervals) for r in history]
    assert judge(broken, 0.0, CRITERIA).kind == "UNSTABLE"
    assert judge(broken, 0.0, CRITERIA, since=12) is None
    assert judge(broken, 0.0, CRITERIA, since=11).kind == "UNSTABLE"
