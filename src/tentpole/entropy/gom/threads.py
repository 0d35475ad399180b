"""Ranges of work spread over the cores this process may use."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import TypeVar

import numpy as np

from tentpole.records import FloatArray

T = TypeVar("T")

_WORTH_A_THREAD = 2e5
"""Cost below which a second thread costs more than it brings: about 0.3 ms of cubed sphere sizes."""

_PIECE = 2e6
"""Cost of one piece, about 2 ms: its matrices stay in the cache, and no thread is waited for long."""


def available() -> int:
    """Cores this process may use: its affinity, and no more than OMP_NUM_THREADS where that is set."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(limit)) if limit.isdigit() and int(limit) > 0 else cores


@lru_cache(maxsize=8)
def _pool(threads: int, _process: int) -> ThreadPoolExecutor:
    """One pool per process: `_process` keeps a forked child from waiting for its parent's threads."""
    return ThreadPoolExecutor(threads, thread_name_prefix="tentpole-entropy")


def spread(work: Callable[[int, int], T], cost: FloatArray, threads: int | None = None) -> list[T]:
    """work(low, high) on pieces that cover range(len(cost)), `cost` being each item's share of the whole.

    Runs in this thread alone where one core is to be used or the whole is small. The order is the range's.
    """
    n = len(cost)
    total = float(cost.sum())
    cores = available() if threads is None else threads
    cores = min(cores, int(total / _WORTH_A_THREAD) + 1, n)
    pieces = max(int(total / _PIECE), 2 * cores if cores > 1 else 1)
    cuts = np.searchsorted(np.cumsum(cost) / total, np.arange(1, pieces) / pieces)
    edges = [0, *(int(c) for c in np.unique(cuts) if 0 < c < n), n]
    if cores <= 1:
        return [work(low, high) for low, high in pairwise(edges)]
    return list(_pool(cores, os.getpid()).map(work, edges[:-1], edges[1:]))
