"""Conditions: a product or a list, walkers that take turns, and what a campaign file may not say of them."""

from collections import Counter

import pytest

from tentpole.config.schema import CampaignConfig
from tentpole.config.sections import read_as
from tentpole.config.walkers import (
    conditions_of,
    judged_conditions,
    temperatures_K,
    turns_of,
    walkers_in_turn,
    walkers_of,
)
from tentpole.errors import InputError
from tentpole.records import Condition

MELT = [{"at": 0.0, "temperature_K": 300.0}, {"at": 1.0, "temperature_K": 1500.0}]


def config(**explore) -> CampaignConfig:
    content = {
        "name": "salt",
        "reference": "emt",
        "structures": [{"file": f"{name}.xyz"} for name in ("b1", "b2", "melt")],
        "stop": {"rounds": 9},
        "explore": explore,
    }
    return read_as(CampaignConfig, content, "campaign.toml")


def product(walkers: int | None) -> CampaignConfig:
    """3 phases, 4 temperatures, 3 pressures: 36 conditions, 72 walkers."""
    return config(
        temperatures_K=[300.0, 600.0, 900.0, 1200.0],
        pressures_GPa=[0.0, 5.0, 10.0],
        ensemble={"kind": "npt"},
        bias={"ratios": [0.0, 0.3]},
        **({} if walkers is None else {"walkers": walkers}),
    )


def test_without_a_budget_all_walkers_run_in_every_round():
    walkers = walkers_of(product(None))
    assert len(walkers) == 72
    assert turns_of(product(None)) == [walkers]
    assert walkers_in_turn(product(None), 7) == walkers


@pytest.mark.parametrize("budget", [24, 25, 10, 2])
def test_every_condition_has_its_turn_with_all_its_walkers_and_no_round_has_too_many(budget):
    turns = turns_of(product(budget))
    assert all(0 < len(turn) <= budget for turn in turns)
    assert sorted(w.place for turn in turns for w in turn) == list(range(72))
    homes = {(w.condition, i) for i, turn in enumerate(turns) for w in turn}
    assert len(homes) == 36


def test_a_turn_has_some_of_each_phase_temperature_and_pressure():
    for turn in turns_of(product(24)):
        assert set(Counter(w.condition.structure for w in turn).values()) == {8}
        assert set(Counter(w.condition.temperature_K for w in turn).values()) == {6}
        assert set(Counter(w.condition.pressure_GPa for w in turn).values()) == {8}


def test_turns_follow_from_the_number_of_the_round_alone():
    assert walkers_in_turn(product(24), 1) == walkers_in_turn(product(24), 4) == turns_of(product(24))[0]
    assert walkers_in_turn(product(24), 3) == turns_of(product(24))[2]


def test_a_list_names_single_conditions():
    conditions = [
        {"structure": "b1", "temperature_K": 300.0},
        {"structure": "b2", "temperature_K": 900.0, "pressure_GPa": 30.0, "ratio": 0.0},
    ]
    walkers = walkers_of(config(conditions=conditions, ensemble={"kind": "npt"}, bias={"ratios": [0.0, 0.5]}))
    assert [(w.id, w.condition, w.ratio) for w in walkers] == [
        ("w00", Condition("b1", 300.0, 0.0), 0.0),
        ("w01", Condition("b1", 300.0, 0.0), 0.5),
        ("w02", Condition("b2", 900.0, 30.0), 0.0),
    ]


def test_the_frames_of_a_ramp_are_of_one_condition_that_its_points_name():
    ramps = [{"structure": "b1", "points": MELT}, {"structure": "b1", "points": MELT, "name": "slow", "rounds": 4}]
    made = config(conditions=ramps, bias={"ratios": [0.0]})
    assert [str(c) for c in conditions_of(made)] == ["b1, ramp 300-1500 K", "b1, ramp slow"]
    assert temperatures_K(made) == [300.0, 1500.0]
    assert [w.rounds for w in walkers_of(made)] == [1, 4]


def test_a_verdict_speaks_of_conditions_that_an_unbiased_walker_shows_whole_in_a_round():
    conditions = [
        {"structure": "b1", "temperature_K": 300.0},
        {"structure": "b2", "temperature_K": 300.0, "ratio": 0.3},
        {"structure": "b2", "points": MELT, "ratio": 0.0},
        {"structure": "melt", "points": MELT, "rounds": 2},
    ]
    assert [str(c) for c in judged_conditions(config(conditions=conditions))] == ["b1, 300 K", "b2, ramp 300-1500 K"]


@pytest.mark.parametrize(
    ("explore", "words"),
    [
        ({"conditions": [{"structure": "b3", "temperature_K": 300.0}]}, 'unknown structure "b3"'),
        ({"conditions": [{"structure": "b1"}]}, "state temperature_K, or points"),
        ({"conditions": [{"structure": "b1", "temperature_K": 3.0, "pressure_GPa": 1.0}]}, "needs a cell that moves"),
        ({"conditions": [{"structure": "b1", "temperature_K": 3.0, "points": MELT}]}, "one of both"),
        ({"conditions": [{"structure": "b1", "temperature_K": 3.0, "rounds": 2}]}, "belong to a ramp"),
        ({"conditions": [{"structure": "b1", "points": MELT[::-1]}]}, r"at = \[1.0, 0.0\]"),
        ({"conditions": [{"structure": "b1", "points": MELT[:1]}]}, "two or more"),
        ({"conditions": [{"structure": "b1", "temperature_K": 3.0}] * 2}, "stands there twice"),
        (
            {"conditions": [{"structure": "b1", "temperature_K": 3.0, "ratio": r} for r in (0.0, None)]},
            "stands there twice",
        ),
        ({"conditions": [{"structure": "b1", "temperature_K": 3.0}], "temperatures_K": [4.0]}, "leave these out"),
        ({"conditions": [{"structure": "b1", "temprature_K": 3.0}]}, 'did you mean "temperature_K"'),
        ({"walkers": 0}, "1 or more"),
        (
            {
                "conditions": [{"structure": "b1", "points": [{**p, "strain": [0.0] * 6} for p in MELT]}],
                "ensemble": {"kind": "npt"},
            },
            '"npt" moves it',
        ),
        ({"conditions": [{"structure": "b1", "points": [{**p, "strain": [0.1]} for p in MELT]}]}, "at least 6"),
        (
            {"conditions": [{"structure": "b1", "points": [{"at": 0.0, "temperature_K": float("nan")}, MELT[1]]}]},
            "finite",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_in_words(explore, words):
    for one in explore.get("conditions", ()):
        if one.get("ratio", 0.0) is None:
            del one["ratio"]
    with pytest.raises(InputError, match=words):
        config(**explore)


def test_turns_need_audit_frames():
    content = {
        "name": "x",
        "reference": "emt",
        "structures": [{"file": "a.xyz"}],
        "stop": {"rounds": 1},
        "explore": {"walkers": 2},
        "selection": {"evidence": "labels"},
    }
    with pytest.raises(InputError, match="conditions take turns"):
        read_as(CampaignConfig, content, "campaign.toml")
