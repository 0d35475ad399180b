"""How long a training is, how its rate falls, and when it ends: in updates, for any number of frames."""

import pytest

from tentpole.errors import InputError
from tentpole.training import MACESettings
from tentpole.training.schedule import (
    TrainingPlan,
    automatic_updates,
    hold_out,
    is_under_trained,
    learning_rate,
    most_updates,
    on_plateau,
)

AUTO = MACESettings()


@pytest.mark.parametrize(
    ("frames", "updates"), [(1, 2000), (108, 2200), (3000, 60_000), (5000, 100_000), (10**6, 200_000)]
)
def test_updates_grow_with_the_data_between_their_bounds(frames, updates):
    assert AUTO.updates_of(frames, warm=False) == updates


def test_three_thousand_frames_get_many_epochs_and_decays():
    updates = AUTO.updates_of(3000, warm=False)
    assert updates * AUTO.batch_size / 3000 >= 50
    lr, lr_end = AUTO.rates(warm=False)
    plan = TrainingPlan(5, updates, updates, lr, lr / 4, lr_end)
    rates = [learning_rate(plan, update) for update in range(0, updates, updates // 60)]
    assert len(set(rates)) >= 50
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == 0.04
    assert learning_rate(plan, updates - 1) == pytest.approx(lr_end, rel=0.01)


def test_a_number_of_updates_is_kept_and_a_warm_training_is_short():
    assert MACESettings(updates=37).updates_of(3000, warm=False) == 37
    assert MACESettings(updates=37).updates_of(3000, warm=True) == 37
    assert AUTO.updates_of(3000, warm=True) == 800
    assert MACESettings(epochs=3).updates_of(20, warm=False) == 12
    with pytest.raises(InputError, match='unknown updates "many"'):
        MACESettings(updates="many")
    with pytest.raises(InputError, match="updates = 0 must be at least 1"):
        MACESettings(updates=0)


def test_cycles_double_what_was_done():
    plan = TrainingPlan(5, 100, 500, 0.04, 0.01, 0.001)
    assert [learning_rate(plan, update) for update in (0, 100, 200, 400)] == [0.04, 0.01, 0.01, 0.01]
    assert [learning_rate(plan, update) for update in (50, 150, 300)] == pytest.approx([0.0205, 0.0055, 0.0055])
    assert learning_rate(plan, 450) == pytest.approx(0.0055)  # the last cycle ends at the limit
    assert learning_rate(TrainingPlan(5, 12, 12, 0.04, 0.01, 0.001), 12) == pytest.approx(
        0.001
    )  # past the end the rate stays
    assert most_updates(100, 10**6) == 400
    assert most_updates(100, 300) == 300
    assert most_updates(100, 50) == 100


@pytest.mark.parametrize(
    ("training", "validation", "expected"),
    [
        ([50.0], [60.0], False),
        ([50.0, 40.0], [60.0, 55.0], False),
        ([50.0, 49.0], [60.0, 50.0], True),
        ([50.0, 40.0], [60.0, 61.0], True),
        ([50.0, 40.0, 30.0], [60.0, 50.0, 49.5], True),
        ([50.0, float("nan")], [60.0, 50.0], True),
    ],
)
def test_a_plateau_is_where_errors_no_longer_fall(training, validation, expected):
    assert on_plateau(training, validation) is expected


def test_under_trained_is_where_both_errors_are_alike():
    assert is_under_trained(44.1, 46.8)
    assert not is_under_trained(8.9, 15.9)
    assert not is_under_trained(float("nan"), 1.0)


@pytest.mark.parametrize("labels", [2, 5, 9, 10, 11, 108])
def test_held_out_labels_rotate(labels):
    """Each label is held out by at most one of four members, and each member holds out at least one."""
    held = [hold_out(labels, member, 10) for member in range(4)]
    assert all(0 < len(part) < labels for part in held)
    if labels >= 4:
        assert sum(map(len, held)) == len(set().union(*held))
    assert hold_out(1, 0, 10) == []
    quarters = [hold_out(108, member, 4) for member in range(4)]
    assert sorted(k for part in quarters for k in part) == list(range(108))


def test_rates_belong_to_sizes():
    assert [MACESettings(size=size).model.lr for size in ("small", "medium", "mace")] == [0.04, 0.02, 0.01]
    assert MACESettings(channels=64).model.lr == pytest.approx(0.02)
    assert MACESettings(channels=64, lr=0.04).model.lr == 0.04
    assert MACESettings(channels=4).model.lr == 0.04
    assert MACESettings(size="medium").rates(warm=True) == (0.005, 0.0005)
    assert MACESettings(size="mace").model.dtype == "float64"
    assert MACESettings(size="mace", dtype="float32").model.dtype == "float32"
    with pytest.raises(InputError, match='unknown size "large"'):
        MACESettings(size="large")


def test_automatic_updates_never_exceed_the_cap():
    assert automatic_updates(108, 5, 1000) == 1000
