"""What a forecast costs: one count of the labels, however many rounds are to come."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tentpole.campaign.forecast import forecast
from tentpole.config.loading import load


class State:
    """Three rounds that are done, of four labels each."""

    current = 3

    def __init__(self) -> None:
        self.counted = 0

    def count(self, _last: int) -> int:
        self.counted += 1
        return 12

    def record(self, _number: int) -> Any:
        return SimpleNamespace(frames=[None] * 4)


def test_labels_are_counted_once_for_a_thousand_rounds_to_come(campaign_file: Callable[..., Path]) -> None:
    config = load(campaign_file(stop={"labels": 4012}))
    waits = [{"labelling": 8.0, "training": 10.0, "md": 4.0}] * 3
    state, usage = State(), SimpleNamespace(waits_per_round=waits, round_ends={})
    made = forecast(state, config, usage)
    assert state.counted == 1
    assert made.rounds == 1000
    assert made.round_s == 22.0  # as many labels as before, and updates that are set
    assert made.rest_s == 22_000.0
