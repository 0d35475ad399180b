"""How long to train, at which rate, and when it is enough: plain functions of what is known at each update.

A training is one cycle or several. Over a cycle the rate falls in a straight line, update by update:

    rate(t) = lr + (lr_end − lr) (t − start) / length

so that at the end of each the weights are settled and their errors can be compared. A training of given length is one
cycle. One that is to reach the plateau goes on with a second of the same length, then with cycles that each double
what was done so far, until one of them brings next to nothing. Updates are counted, never epochs: three frames and a
hundred thousand see the same descent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

EPOCHS = 100  # of every frame, that a training is given where nobody says how many updates
FEWEST = 2000
FALL = 0.03  # of the force error over one cycle: less is no progress
UNDER_TRAINED = 0.8  # training error over held-out error: above, it is updates that are missing, not labels
LONGER = 4  # times as many updates as usual, at most, for a training that is to reach the plateau


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """A training's length and rates.

    batch : frames per update. cycle : updates of the first cycle. limit : most updates. lr, lr_again, lr_end : the rate
    at the start of the first cycle, of the later ones, and at the end of each.
    """

    batch: int
    cycle: int
    limit: int
    lr: float
    lr_again: float
    lr_end: float


def automatic_updates(frames: int, batch: int, most: int) -> int:
    """Updates for a set of that size: a hundred epochs, at least 2000, at most `most`."""
    return max(1, min(most, max(FEWEST, EPOCHS * math.ceil(frames / batch))))


def most_updates(usual: int, most: int) -> int:
    """The limit of a training that is to reach the plateau, `usual` being the length of its first cycle."""
    return max(usual, min(most, LONGER * usual))


def cycle_at(plan: TrainingPlan, update: int) -> tuple[int, int]:
    """The first update of the cycle that `update` (counted from 0) belongs to, and the first after it."""
    start, end = 0, plan.cycle
    while update >= end:
        start, end = end, 2 * end
    return start, min(end, max(plan.limit, plan.cycle))


def learning_rate(plan: TrainingPlan, update: int) -> float:
    """The rate of the given update (counted from 0)."""
    start, end = cycle_at(plan, update)
    first = plan.lr if start == 0 else plan.lr_again
    share = (update - start) / (end - start) if update < end else 1.0
    return first + (min(first, plan.lr_end) - first) * share


def on_plateau(training: Sequence[float], validation: Sequence[float]) -> bool:
    """Whether going on is of no use, from the force errors before and after each cycle so far.

    So it is where those of trained frames or those of held-out ones fell by less than 3 % over the last, or are not
    finite.
    """
    return any(len(errors) >= 2 and not errors[-1] < (1 - FALL) * errors[-2] for errors in (training, validation))


def is_under_trained(training: float, validation: float) -> bool:
    """Whether more updates would still help: errors on trained and on held-out frames are nearly alike."""
    return training > UNDER_TRAINED * validation


def hold_out(labels: int, member: int, folds: int) -> list[int]:
    """The labels that `member` never trains on: every `folds`-th, another set for each of that many members.

    With fewer labels than folds one is held out all the same; of a single one none is.
    """
    if labels < 2:
        return []
    return list(range(member % min(folds, labels), labels, folds))
