"""What a round will take, by a moment of training and of MD."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tentpole.campaign import timing
from tentpole.campaign.plan import planned
from tentpole.campaign.timing import Cost, cost_lines, measured
from tentpole.config.loading import given_frames, load, starting_structures

Make = Callable[..., Path]


@pytest.mark.slow
def test_a_moment_of_training_and_of_md_is_measured(campaign_file: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "SHORT_S", 0.01)
    path = campaign_file(training={"kind": "mace", "channels": 4, "max_L": 0, "r_max": 4.0, "updates": 2})
    config = load(path)
    found = measured(config, starting_structures(config, path))
    assert found is not None
    assert found.update_s > 0
    assert found.step_s > 0
    assert (found.together, found.groups) == (2, 1)
    assert found.side_by_side == max(1, -(-2 // timing._cores(config)))
    assert found.side_by_side_s > 0


def test_the_price_of_a_round_adds_labels_training_and_md(campaign_file: Make) -> None:
    path = campaign_file()  # 6 initial labels, 2 rounds of 4, 12 updates, 2 walkers of 30 steps, 2 workers
    config = load(path)
    plan = planned(config, given_frames(config, path))
    cost = Cost(update_s=1.0, together=2, groups=1, step_s=0.5)
    (line,) = cost_lines(config, plan, cost, 2.0, 2)
    updates = config.training.build().updates_of(10, warm=config.training.warm_start)
    first = 6 * 2.0 / 2 + 12
    assert f"first committee after {first:g} s" in line.found
    md = -(-2 // timing._cores(config)) * 30 * 0.5
    assert f"then {md + 4 + updates:g} s a round" in line.found
    assert "1e+03 ms an update of 2 members" in line.found


def test_check_says_which_way_of_walking_takes_less_time(campaign_file: Make) -> None:
    path = campaign_file()
    config = load(path)
    plan = planned(config, given_frames(config, path))

    def walkers(alone_s: float, side_s: float, as_set: int) -> tuple[str, bool]:
        cost = Cost(1.0, 2, 1, alone_s, side_by_side=8, side_by_side_s=side_s, as_set=as_set)
        line = list(cost_lines(config, plan, cost, 2.0, 2))[-1]
        return line.found, line.doubtful

    found, doubtful = walkers(0.020, 0.004, 8)
    assert "4 ms with 8 in a process and 20 ms by itself" in found
    assert not doubtful
    assert walkers(0.020, 0.004, 1)[0].endswith("set [executor] walkers_together = 8")
    assert walkers(0.020, 0.040, 8)[0].endswith("set [executor] walkers_together = 1")
    assert not walkers(0.020, 0.022, 8)[1]
