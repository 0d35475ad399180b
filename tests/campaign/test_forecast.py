"""What a forecast is made of, and what it costs: one count of the labels, however many rounds are to come."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tentpole.campaign.forecast import Forecast, forecast
from tentpole.campaign.usage import Usage
from tentpole.config.loading import load
from tentpole.config.schema import CampaignConfig


class State:
    """Three rounds that are done, of four labels each."""

    current = 3

    def __init__(self) -> None:
        self.counted = 0

    def count(self, _last: int) -> int:
        self.counted += 1
        return 12

    def record(self, _number: int) -> Any:
        return SimpleNamespace(frames=[None] * 4, facts=SimpleNamespace(final_look=0))


def finishing(config: CampaignConfig) -> CampaignConfig:
    """The same campaign with a training to the plateau at its end."""
    return config.model_copy(update={"training": replace(config.training, finishing=True)})


def test_labels_are_counted_once_for_a_thousand_rounds_to_come(campaign_file: Callable[..., Path]) -> None:
    config = finishing(load(campaign_file(stop={"labels": 4012})))
    waits = [{"labelling": 8.0, "training": 10.0, "md": 4.0}] * 3
    state, usage = State(), Usage()
    usage.waits_per_round = waits
    made = forecast(state, config, usage)
    assert made is not None
    assert state.counted == 1
    assert made.rounds == 1000
    assert made.round_s == 22.0  # as many labels as before, and updates that are set
    assert (
        made.rest_s == 22_000.0 + 40.0
    )  # with a last training to the plateau, of four times the usual updates at most


def of_round_2(events: Sequence[dict[str, Any]], config: CampaignConfig) -> Forecast:
    """The forecast for the third explored round."""
    made = forecast(State(), config, Usage({"elapsed_s": 0.0} | event for event in events))
    assert made is not None
    return made


def test_a_training_to_the_plateau_is_no_part_of_the_rounds_to_come(campaign_file: Callable[..., Path]) -> None:
    config = finishing(load(campaign_file(stop={"rounds": 4})))
    before = [
        {"event": "round done", "round": 1, "elapsed_s": 100.0},
        {"event": "phase", "phase": "training", "round": 1, "seconds": 40.0},
        {"event": "finishing training", "round": 1},
    ]
    second = [
        {"event": "phase", "phase": "md", "round": 2, "seconds": 5.0},
        {"event": "phase", "phase": "training", "round": 2, "seconds": 10.0},
        {"event": "round done", "round": 2, "elapsed_s": 157.0},
    ]
    made = of_round_2([*before, *second], config)
    assert made.round_s == pytest.approx(17.0)  # 2 s beside the phases
    assert made.rest_s == pytest.approx(2 * 17.0 + 40.0)
    after = [
        {"event": "phase", "phase": "training", "round": 2, "seconds": 50.0, "elapsed_s": 210.0},
        {"event": "finishing training", "round": 2},
    ]
    assert of_round_2([*before, *second, *after], config).round_s == pytest.approx(17.0)


def test_a_round_that_begins_with_a_training_to_the_plateau_takes_that_longer(
    campaign_file: Callable[..., Path],
) -> None:
    config = finishing(load(campaign_file(stop={"rounds": 4})))
    usage = Usage()
    usage.waits_per_round = [{"md": 5.0, "training": 10.0}] * 3
    plain, longer = (forecast(State(), config, usage, finishing=first) for first in (False, True))
    assert plain is not None
    assert longer is not None
    assert longer.round_s == pytest.approx(plain.round_s + 40.0)
    assert longer.rest_s == pytest.approx((plain.rest_s or 0.0) + 40.0)


def test_what_the_first_round_pays_for_once_is_not_forecast_again(campaign_file: Callable[..., Path]) -> None:
    config = finishing(load(campaign_file(stop={"rounds": 4})))
    state, usage = State(), Usage()
    state.current = 2
    usage.waits_per_round = [{}, {"md": 5.0, "training": 10.0}]
    usage.round_ends = {0: (0.0, 0.0), 1: (100 / 3600, 0.0)}  # 85 s of starts and compiling
    made = forecast(state, config, usage)
    assert made is not None
    assert made.round_s == pytest.approx(15.0)


def test_a_final_look_takes_longer_md_and_more_labels_and_is_no_measure_of_other_rounds(
    campaign_file: Callable[..., Path],
) -> None:
    config = load(campaign_file(stop={"rounds": 6}, selection={"batch": 4}))
    usage = Usage()
    usage.waits_per_round = [
        {"md": 5.0, "labelling": 8.0},
        {"md": 5.0, "labelling": 8.0},
        {"md": 50.0, "labelling": 40.0},
    ]
    before, after = State(), State()
    before.current = 2
    made = forecast(before, config, usage, look=20)
    assert made is not None
    assert config.selection.audits == 2
    assert made.round_s == pytest.approx(10 * 5.0 + 5 * 8.0)  # 20 audit frames for 2, 20 labels for 4
    assert made.rest_s == pytest.approx(made.round_s + 4 * 13.0)
    after.record = lambda number: SimpleNamespace(frames=[None] * 4, facts=SimpleNamespace(final_look=number == 2))
    made = forecast(after, config, usage)
    assert made is not None
    assert made.round_s == pytest.approx(13.0)
    assert made.rounds == 6 - 2
