"""The frames right before a structure falls apart: labelled, they tell whether the reference's MD does so too."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tentpole.exploration import Exploration
from tentpole.exploration.health import FELL_APART
from tentpole.records import Candidate

MOST = 3
"""Such frames of a round that are labelled, at most."""


def brinks_of(shards: Sequence[Exploration], unbiased: Collection[str]) -> tuple[int, list[str]]:
    """How often unbiased walkers fell apart in a round, and the ids of their last snapshots before.

    A walker that fell apart before its first snapshot since the last mishap, or since the round began, has none.
    """
    parted, ids = 0, list[str]()
    for shard in shards:
        if shard.walker.id not in unbiased:
            continue
        since = 0
        for mishap in shard.mishaps:
            if mishap.reason == FELL_APART:
                parted += 1
                ids += [shot.id for shot in shard.snapshots if since < shot.step < mishap.step][-1:]
            since = mishap.step
    return parted, ids


def among(candidates: Sequence[Candidate], ids: Sequence[str], most: int = MOST) -> list[int]:
    """Indices of the candidates with these ids; where there are more than `most`, so many, evenly spread over `ids`."""
    place = {c.snapshot.id: i for i, c in enumerate(candidates)}
    there = [place[name] for name in ids if name in place]
    most = min(most, len(there))
    return [there[(2 * k + 1) * len(there) // (2 * most)] for k in range(most)]
