"""Committees and foundation models kept from one job of a worker process to the next."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tentpole.committee import Committee
    from tentpole.committee.committee import Voter


@lru_cache(maxsize=2)
def committee_in(models: Path, dtype: str) -> Committee:
    """The committee in a folder, kept for the next job of this process.

    One thread: the workers share the cores, and sums in another order would give other last digits.
    """
    import torch

    from tentpole.committee import Committee
    from tentpole.committee.baseline import baseline_beside

    torch.set_num_threads(1)

    return Committee.load(models, dtype=dtype, baseline=baseline_beside(models))


@lru_cache(maxsize=4)
def foundation_in(name: str, dtype: str) -> Voter:
    """A foundation model, kept for the next job of this process."""
    from tentpole.committee import foundation

    return foundation(name, dtype=dtype)
