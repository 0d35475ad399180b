"""The history of a real campaign, told again: when it may end, and when it must not."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from support.paths import DATA
from tentpole.campaign.audit_tests import final_look_size, passes, projected
from tentpole.campaign.confidence import Look
from tentpole.campaign.verdict import Audits, Criteria, Round, judge


def told(name: str) -> tuple[Criteria, list[Round]]:
    """The settings of a verdict and the rounds of a campaign, as they were written down."""
    content = json.loads((DATA / name).read_text())
    criteria = content["criteria"] | {"conditions": tuple(content["criteria"]["conditions"])}
    return Criteria(**criteria), [_round(one) for one in content["rounds"]]


def _round(one: dict[str, Any]) -> Round:
    audits = one.pop("audits")
    look = Look(np.array(audits["squares"]), tuple(audits["conditions"]), tuple(audits["walkers"]))
    none = np.full(len(look), math.nan)
    validation = math.nan if one["validation"] is None else one.pop("validation")
    kept = {key: value for key, value in one.items() if key != "validation"}
    return Round(
        frame_errors=look.squares,
        audit=[True] * len(look),
        groups={},
        validation=validation,
        audits=Audits(look, np.array(audits["energy"]), none),
        **kept,
    )


@pytest.fixture
def zundel() -> tuple[Criteria, list[Round]]:
    """`examples/01_zundel` from 12 initial labels: target 50 meV/Å, five rounds of 30 labels, a look at 32 frames."""
    return told("zundel_history.json")


def test_it_goes_on_until_the_look_and_then_is_converged(zundel: tuple[Criteria, list[Round]]) -> None:
    criteria, rounds = zundel
    for count in range(1, len(rounds)):
        assert judge(rounds[:count], 0.0, criteria) is None
        looked = final_look_size(rounds[:count], criteria)
        assert (looked or 0) == (rounds[count].labels if rounds[count].final_look else 0)
    assert passes(rounds[-1], rounds[:-1], criteria)
    verdict = judge(rounds, 0.0, criteria)
    assert verdict is not None
    assert verdict.kind == "CONVERGED"


@pytest.mark.parametrize("target", [0.012, 0.02])
def test_the_same_evidence_does_not_meet_a_lower_target(zundel: tuple[Criteria, list[Round]], target: float) -> None:
    criteria, rounds = zundel
    lower = replace(criteria, force_error_eV_per_A=target)
    assert not passes(rounds[-1], rounds[:-1], lower)
    for count in range(1, len(rounds)):
        assert final_look_size(rounds[:count], lower) is None
        assert judge(rounds[:count], 0.0, lower) is None
    found = projected(rounds[:-1], lower)
    assert found is not None
    assert found.more is None or found.more > 100


def test_a_look_with_frames_gone_wrong_or_under_one_condition_alone_does_not_pass(
    zundel: tuple[Criteria, list[Round]],
) -> None:
    criteria, rounds = zundel
    look = rounds[-1].audits.look
    worse = look.squares.copy()
    worse[:2] = 0.5**2
    one = [k for k, name in enumerate(look.conditions) if name == look.conditions[0]]
    alone = Look(look.squares[one], tuple(look.conditions[k] for k in one), tuple(look.walkers[k] for k in one))
    for spoilt in (replace(look, squares=worse), alone):
        audits = Audits(spoilt, np.zeros(len(spoilt)), np.full(len(spoilt), math.nan))
        assert not passes(replace(rounds[-1], audits=audits), rounds[:-1], criteria)
    assert judge([*rounds[:-1], replace(rounds[-1], passed=False)], 0.0, criteria) is None
