"""Walkers whose frames the reference cannot label: three failures in a row, and the walker is sent back.

Decided from the files of closed rounds alone, their labels in batch order, so that it is the same after any restart.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tentpole.campaign import batches
from tentpole.campaign.batches import Request
from tentpole.exploration.jobs import WalkerReset

IN_A_ROW = 3


def sent_back(root: Path, requests: Callable[[int], list[Request]], last: int, lag: int) -> list[WalkerReset]:
    """Who was sent back for the failures of the rounds up to `last`, all closed. `requests` gives a round's batch.

    What a round finds is heeded `lag` rounds later: 1, or 2 where walkers run ahead of the labels. Frames from
    before a walker was sent back do not count against it again.
    """
    found: list[WalkerReset] = []
    failures: dict[str, list[tuple[int, str, str]]] = {}
    since: dict[str, int] = {}
    for round in range(1, last + 1):
        failed = set(batches.read_closed(root, round)["failed"])
        for request in requests(round):
            _, walker, step = request.id.split("-")
            if round < since.get(walker, 1):
                continue
            row = failures.setdefault(walker, [])
            if request.name not in failed:
                row.clear()
                continue
            failure = batches.failure_of(root, request)
            row.append((int(step), request.id, failure.reason if failure else "no label"))
            if len(row) == IN_A_ROW:
                said = ", ".join(f"{id} {reason}" for _, id, reason in row)
                message = f"{IN_A_ROW} labels in a row failed: {said}"
                found.append(WalkerReset(walker, round, round + lag, min(row)[0], message))
                since[walker] = round + lag
                row.clear()
    return found
