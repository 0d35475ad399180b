"""Which frames are labelled for judging alone: drawn at random in time, evenly over conditions and walkers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tentpole.errors import InputError


def draw_audits(conditions: Sequence[str], walkers: Sequence[str], count: int, rng: np.random.Generator) -> list[int]:
    """Indices of at most `count` of n frames of unbiased MD, in the order in which they were drawn.

    Conditions take turns, within a condition its walkers take turns, and within a walker every frame is as likely as
    any other; turns are in random order. So every condition has as many frames as any other, give or take one, while
    it has frames left; a bound gives each the weight its claim wants (`confidence.rmse_bound`). With the same
    generator a smaller `count` gives the first of the same frames.

    Parameters
    ----------
    conditions, walkers : (n,) names of each frame's condition and trajectory.
    count : how many are wanted; all frames where there are fewer.
    rng : generator from the campaign's seed.

    Raises
    ------
    InputError : lengths differ, or count is negative.

    >>> drawn = draw_audits(["cold"] * 8 + ["hot"] * 2, list("wwwwxxxxyz"), 4, np.random.default_rng(0))
    >>> sorted(i >= 8 for i in drawn)
    [False, False, True, True]
    """
    n = len(conditions)
    if len(walkers) != n:
        raise InputError(f"{n} conditions and {len(walkers)} walkers: one each per frame is needed")
    if count < 0:
        raise InputError(f"count = {count} must not be negative")
    lots = [rng.permutation(n) for _ in range(3)]
    turn = _turns(list(zip(conditions, walkers, strict=True)), lots[0].tolist())
    order = np.lexsort((lots[1], np.array(turn))).tolist()
    turn = _turns(list(conditions), order)
    drawn: list[int] = np.lexsort((lots[2], np.array(turn))).tolist()
    return drawn[:count]


def _turns(groups: Sequence[object], order: Sequence[int]) -> list[int]:
    """Which of its group each frame is, counted from 0 in that order."""
    seen: dict[object, int] = {}
    turn = [0] * len(groups)
    for i in order:
        turn[i] = seen.get(groups[i], 0)
        seen[groups[i]] = turn[i] + 1
    return turn
