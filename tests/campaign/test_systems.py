"""Several systems in one campaign: targets, quotas and evidence of each."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from tentpole.campaign.audit_tests import audit_tests, final_look_size, passes
from tentpole.campaign.confidence import Look
from tentpole.campaign.judging import criteria
from tentpole.campaign.selecting import View
from tentpole.campaign.verdict import Audits, Criteria, Round
from tentpole.config.loading import load
from tentpole.errors import InputError
from tentpole.records import Candidate, Condition, Scores, Snapshot

STRUCTURES = [{"file": "copper.xyz", "name": name, "system": name[:-1]} for name in ("ice1", "ice2", "water1")]
EXPLORE = {"temperatures_K": [300.0, 400.0], "steps": 30, "snapshot_every": 5}
TARGET = {"force_error_eV_per_A": 0.04, "force_errors_eV_per_A": {"ice": 0.01}}
FIRST = Round(20, 0, np.zeros(0), [], {}, np.nan, 0, 0, 0, asked=20)
TWO = Criteria(
    0.04, 2, 20, 0.05, 5, None, None, None, evidence="audits", conditions=("ice", "water"), batch=20, frames=100,
    targets={"ice": 0.01}, systems={"ice": ("ice",), "water": ("water",)},
)  # fmt: skip


def looked(ice: float, water: float, n: int = 10, **changes: object) -> Round:
    """A round with n audit frames of each system, whose squared errors scatter about these RMSEs in eV/Å."""
    x = np.exp(0.3 * np.random.default_rng(4).standard_normal(n))
    squares = np.concatenate([ice**2 * x / x.mean(), water**2 * x / x.mean()])
    look = Look(squares, ("ice",) * n + ("water",) * n, ("w00",) * n + ("w01",) * n)
    audits = Audits(look, np.full(2 * n, 1e-3), np.full(2 * n, np.nan))
    one = Round(2 * n, 0, np.zeros(0), [], {}, np.nan, 40, 0, 0, asked=2 * n, candidates=80)
    return replace(replace(one, audits=audits), **changes)


def test_each_system_is_held_against_its_own_target() -> None:
    before = [FIRST, looked(0.006, 0.025), looked(0.006, 0.025)]
    assert final_look_size(before, TWO) is not None
    assert passes(looked(0.006, 0.025, final_look=1), before, TWO)
    assert not passes(looked(0.02, 0.025, final_look=1), before, TWO)  # within 0.04, but not within the ice's 0.01
    assert not passes(looked(0.006, 0.06, final_look=1), before, TWO)
    alike = replace(TWO, targets={}, systems={})
    assert passes(looked(0.02, 0.025, final_look=1), before, alike)


def test_the_error_of_each_system_is_told_in_its_own_units() -> None:
    tests = audit_tests([FIRST, looked(0.006, 0.025), looked(0.006, 0.025)], TWO)
    told = {test.test: test for test in tests if test.test.startswith("force RMSE of system")}
    assert told["force RMSE of system ice, eV/Å"].value == pytest.approx(0.006)
    assert told["force RMSE of system water, eV/Å"].value == pytest.approx(0.025)
    assert "its target is 0.01 eV/Å" in told["force RMSE of system ice, eV/Å"].note
    assert all(test.bound is None for test in told.values())
    assert any("relative to each system's target" in test.test for test in tests)


def test_a_campaigns_conditions_have_the_targets_of_their_systems(campaign_file: Callable[..., Path]) -> None:
    config = load(campaign_file(structures=STRUCTURES, explore=EXPLORE, target=TARGET))
    found = criteria(config)
    assert set(found.targets) == {f"ice{k}, {t} K" for k in (1, 2) for t in (300, 400)}
    assert set(found.targets.values()) == {0.01}
    assert found.systems["water"] == ("water1, 300 K", "water1, 400 K")
    assert not criteria(load(campaign_file())).systems


def test_a_rule_sees_sigma_against_the_target_and_groups_by_system(campaign_file: Callable[..., Path]) -> None:
    selection = {"rule": "two_key", "batch": 4, "quota_of": "system"}
    config = load(campaign_file(structures=STRUCTURES, explore=EXPLORE, target=TARGET, selection=selection))
    frames = [
        Candidate(
            Snapshot(f"r001-w0{k}-000010", bulk("Cu"), Condition(name, 300.0), f"w0{k}", 1, 10),
            Scores(0.1, 0.1, 0.02, 0.02, 0.2, p95_force_std=0.02),
            np.ones((1, 3)),
        )
        for k, name in enumerate(("ice1", "ice2", "water1"))
    ]
    shown = View.of(config).table(frames)
    assert shown.sigma.tolist() == pytest.approx([0.08, 0.08, 0.02])
    assert list(shown.conditions) == ["ice", "ice", "water"]
    assert list(View().table(frames).conditions) == ["ice1, 300 K", "ice2, 300 K", "water1, 300 K"]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ({"force_errors_eV_per_A": {"icy": 0.01}}, 'did you mean "ice"?'),
        ({"force_errors_eV_per_A": {"ice": 0.0}}, "force_errors_eV_per_A"),
        ({"force_errors_eV_per_A": {"ice": float("nan")}}, "force_errors_eV_per_A"),
    ],
)
def test_targets_of_no_system_and_impossible_ones_are_refused(
    campaign_file: Callable[..., Path], target: dict[str, object], words: str
) -> None:
    with pytest.raises(InputError) as caught:
        load(campaign_file(structures=STRUCTURES, explore=EXPLORE, target=target))
    assert words in str(caught.value)
