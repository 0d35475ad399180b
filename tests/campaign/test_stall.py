"""Walkers that come no further end the wait for them; those that wait for a worker, or are slow, do not."""

import pytest

from tentpole.campaign.exploring import Stall
from tentpole.errors import MachineError


def test_no_frame_for_longer_than_the_limit_stops_the_wait_and_any_frame_begins_it_anew() -> None:
    clock = iter([0.0, 1.0, 100.0, 101.0, 199.0, 201.5])
    stall = Stall(100.0, lambda: next(clock))
    stall.look(0, at_work=True)
    stall.look(10, at_work=True)
    stall.look(20, at_work=True)
    stall.look(20, at_work=True)
    with pytest.raises(MachineError, match=r"20 steps .* for 100 s\..*walkers_stalled_s = 100,"):
        stall.look(20, at_work=True)


def test_walkers_that_wait_for_a_worker_are_not_stalled() -> None:
    clock = iter([0.0, 1.0, 1000.0, 2000.0, 2099.0])
    stall = Stall(100.0, lambda: next(clock))
    for at_work in (True, False, False, True):
        stall.look(0, at_work)
