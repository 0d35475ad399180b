"""Walkers whose frames the reference cannot label: three failures in a row, and the walker is reset.

Decided from the files of closed rounds alone, their labels in batch order, so that it is the same after any restart.
"""

from __future__ import annotations

from tentpole.campaign.batches import failure_of
from tentpole.campaign.state import RoundState
from tentpole.exploration.jobs import WalkerReset

IN_A_ROW = 3


def walker_resets(state: RoundState, last: int, lag: int) -> list[WalkerReset]:
    """Which walkers are reset for the failures of the rounds up to `last`, all closed.

    What a round finds is heeded `lag` rounds later: 1, or 2 where walkers run ahead of the labels. Frames from
    before a reset do not count against the walker again.
    """
    resets: list[WalkerReset] = []
    failures: dict[str, list[tuple[int, str, str]]] = {}
    since: dict[str, int] = {}
    for number in range(1, last + 1):
        failed = set(state.outcome(number).failed)
        for frame in state.record(number).frames:
            _, *of_walker = frame.id.split("-")
            if len(of_walker) != 2:  # a first label of a structure that joined: no walker made it
                continue
            walker, step = of_walker
            if number < since.get(walker, 1):
                continue
            row = failures.setdefault(walker, [])
            if frame.name not in failed:
                row.clear()
                continue
            failure = failure_of(state.paths, frame.name)
            row.append((int(step), frame.id, failure.reason if failure else "no label"))
            if len(row) == IN_A_ROW:
                reasons = ", ".join(f"{key} {reason}" for _, key, reason in row)
                message = f"{IN_A_ROW} labels in a row failed: {reasons}"
                resets.append(WalkerReset(walker, number, number + lag, min(row)[0], message))
                since[walker] = number + lag
                row.clear()
    return resets
