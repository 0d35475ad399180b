"""Ranges of work spread over the cores this process may use."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

import numpy as np

from tentpole.state import FloatArray

T = TypeVar("T")

_WORTH_A_THREAD = 2e5
"""Cost below which a second thread costs more than it brings: about 0.3 ms of cubed sphere sizes."""

_PIECES = 4
"""Pieces per thread: the last one to finish is not waited for long, also where another job takes a core."""


def available() -> int:
    """Cores this process may use: its affinity, and no more than OMP_NUM_THREADS where that is set."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(limit)) if limit.isdigit() and int(limit) > 0 else cores


@lru_cache(maxsize=8)
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """One pool per process: `process` keeps a forked child from waiting for its parent's threads."""
    return ThreadPoolExecutor(threads, thread_name_prefix="tentpole-entropy")


def spread(work: Callable[[int, int], T], cost: FloatArray, threads: int | None = None) -> list[T]:
    """work(low, high) on pieces that cover range(len(cost)), `cost` being each item's share of the whole.

    Runs in this thread alone where one core is to be used or the whole is small.
    """
    n = len(cost)
    total = float(cost.sum())
    cores = available() if threads is None else threads
    cores = min(cores, int(total / _WORTH_A_THREAD) + 1, n)
    if cores <= 1:
        return [work(0, n)]
    share = np.cumsum(cost) / total
    cuts = np.unique(np.searchsorted(share, np.arange(1, cores * _PIECES) / (cores * _PIECES)))
    edges = [0, *(int(c) for c in cuts if 0 < c < n), n]
    return list(_pool(cores, os.getpid()).map(work, edges[:-1], edges[1:]))
