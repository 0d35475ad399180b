"""A labelled set as any code wrote it: keys found, gaps reported, twins kept apart, split once for all runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from tentpole.errors import InputError
from tentpole.storage.duplicates import duplicate_of


@dataclass(frozen=True, slots=True)
class Split:
    """Indices into a labelled set: to start from, to validate trainings, to test on, to choose from.

    No two of them hold twins of each other, and the pool holds no twins at all. `left_out` counts the frames
    that were twins.
    """

    initial: list[int]
    valid: list[int]
    test: list[int]
    pool: list[int]
    left_out: int


def split(frames: Sequence[Atoms], *, initial: int, valid: int, test: int, seed: int) -> Split:
    """Draw test, validation and initial frames; the rest is the pool, one of each set of twins.

    Raises InputError where there are too few frames.
    """
    first = duplicate_of(frames)
    unique = np.flatnonzero(first == np.arange(len(frames)))
    needed = initial + valid + test
    if len(unique) <= needed:
        raise InputError(
            f"{len(unique)} different frames cannot give {test} to test, {valid} to validate and {initial} to start"
        )
    drawn = np.random.default_rng(seed).permutation(unique).tolist()
    return Split(
        test=sorted(drawn[:test]),
        valid=sorted(drawn[test : test + valid]),
        initial=sorted(drawn[test + valid : needed]),
        pool=sorted(drawn[needed:]),
        left_out=len(frames) - len(unique),
    )
