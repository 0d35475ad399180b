"""Greedy choice of the configurations that widen a dataset's log-det most, with quotas per group.

Two objectives. The normalised H of `Covariance` is neither monotone nor submodular: its greedy choice
("exact") looks at every candidate every time. The information form F(S) = ln det(λI + Σ (q − μ₀)(q − μ₀)ᵀ)
with μ₀ fixed is monotone submodular, so that an old gain bounds a new one: its lazy greedy choice
("information") is the full one with few evaluations, and within 1 − 1/e of the best set. With one row per
candidate all its gains follow from a Cholesky factor updated by each choice ("cholesky"), as in Chen, Zhang
and Zhou, NeurIPS 2018.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.linalg import cho_solve

from tentpole.entropy.compiled import compiled
from tentpole.entropy.covariance import Blocks, Covariance, Method, information
from tentpole.errors import InputError, unknown
from tentpole.records import FloatArray

Quotas = int | Mapping[Hashable, int] | None
_METHODS = ("exact", "information", "cholesky")
_AT_ONCE = 32
"""Stale gains renewed together by the lazy form: a batched determinant costs little more than one."""


def greedy(
    covariance: Covariance,
    batch: Blocks,
    k: int,
    *,
    method: Method = "exact",
    groups: Sequence[Hashable] | None = None,
    quotas: Quotas = None,
    floor: float = -np.inf,
) -> list[tuple[int, float]]:
    """Choose configurations one after another, each the one that gains most given those chosen before.

    Parameters
    ----------
    covariance : Covariance
        Of the dataset; it is left as it is.
    batch : sequence of (N_i, d) arrays, or (n, d) array
        The candidates' fingerprint rows.
    k : int
        At most so many are chosen.
    method : {"exact", "information", "cholesky"}
        See the module's first lines.
    groups : sequence, optional
        A label per candidate.
    quotas : int or mapping, optional
        How many of each label at most, one number for all or one per label (labels it does not name are free).
    floor : float
        Stop when the best gain left falls below it.

    Returns
    -------
    list of (int, float)
        Index and gain when it was chosen, in order of choice.

    Raises
    ------
    InputError
        For an unknown method, or quotas without groups.

    Examples
    --------
    >>> import numpy as np
    >>> from tentpole.entropy import Covariance, greedy
    >>> known = Covariance("per-config", size=2)
    >>> for row in np.random.default_rng(0).normal(size=(50, 2)):
    ...     known.add(row)
    >>> candidates = np.array([[0.1, 0.0], [4.0, 0.0], [0.0, 3.0]])
    >>> [index for index, gain in greedy(known, candidates, 2)]
    [1, 2]
    """
    if method not in _METHODS:
        raise unknown("greedy method", str(method), _METHODS)
    if groups is not None and len(groups) != len(batch):
        raise ValueError(f"{len(batch)} candidates need {len(batch)} groups, got {len(groups)}")
    room = _Room(groups, quotas, len(batch))
    k = min(k, len(batch))
    if k <= 0:
        return []
    if method == "exact":
        return _exact(covariance, batch, k, room, floor)
    if method == "information":
        return _lazy(covariance, batch, k, room, floor)
    return _cholesky(covariance, batch, k, room, floor)


def even_quota(groups: Sequence[Hashable], k: int) -> int:
    """The smallest cap per group that still lets k be chosen: an equal share, the rest for whom it serves.

    Parameters
    ----------
    groups : sequence of hashable
        The group of each candidate.
    k : int
        How many are wanted.

    Returns
    -------
    int

    Examples
    --------
    >>> from tentpole.entropy import even_quota
    >>> even_quota(["hot"] * 10 + ["cold"] * 2, 6)
    4
    """
    sizes = list(Counter(groups).values())
    for cap in range(1, k + 1):
        if sum(min(size, cap) for size in sizes) >= k:
            return cap
    return max(k, 1)


class _Room:
    """What each group may still give."""

    def __init__(self, groups: Sequence[Hashable] | None, quotas: Quotas, n: int) -> None:
        self.groups = groups
        self.open = np.ones(n, dtype=bool)
        self.left: dict[Hashable, int] = {}
        if quotas is None:
            return
        if groups is None:
            raise InputError("quotas need groups: give a label per candidate.")
        if isinstance(quotas, Mapping):
            self.left = dict(quotas)
        else:
            self.left = dict.fromkeys(groups, int(quotas))
        for label, number in self.left.items():
            if number <= 0:
                self._close(label)

    def take(self, index: int) -> None:
        self.open[index] = False
        if self.groups is None or (label := self.groups[index]) not in self.left:
            return
        self.left[label] -= 1
        if self.left[label] <= 0:
            self._close(label)

    def _close(self, label: Hashable) -> None:
        assert self.groups is not None  # quotas without groups were refused
        self.open[[i for i, other in enumerate(self.groups) if other == label]] = False


def _exact(covariance: Covariance, batch: Blocks, k: int, room: _Room, floor: float) -> list[tuple[int, float]]:
    """Full greedy on H: every candidate's gain at every choice."""
    grown = covariance.copy()
    stacks = grown.stacks(batch)
    chosen: list[tuple[int, float]] = []
    gains = np.empty(len(batch))
    while len(chosen) < k and room.open.any():
        for indices, blocks in stacks:
            live = room.open[indices]
            if live.any():
                gains[indices[live]] = grown.stack_gains(blocks[live])
        best = int(np.argmax(np.where(room.open, gains, -np.inf)))
        if gains[best] < floor:
            break
        chosen.append((best, float(gains[best])))
        grown.add(batch[best])
        room.take(best)
    return chosen


def _start(covariance: Covariance, batch: Blocks, k: int) -> tuple[FloatArray, list[tuple[np.ndarray, FloatArray]]]:
    """A₀ = λI + nC of the information form, and the candidates' rows less μ₀.

    μ₀ is the dataset's mean, or the candidates' where the dataset is empty. λ = ε(n + k r), r the mean number
    of rows: after k choices A / (n + k r) is then the normalised C + εI but for the motion of the mean.
    """
    stacks = covariance.stacks(batch)
    rows = sum(blocks.shape[0] * blocks.shape[1] for _, blocks in stacks)
    d = stacks[0][1].shape[2]
    mean, scatter = covariance.mean, covariance.scatter
    if covariance.n == 0:
        mean = sum((blocks.sum(axis=(0, 1)) for _, blocks in stacks), np.zeros(d)) / rows
        scatter = np.zeros((d, d))
    ridge = covariance.eps * (covariance.n + k * rows / len(batch))
    return ridge * np.eye(d) + scatter, [(indices, blocks - mean) for indices, blocks in stacks]


def _lazy(covariance: Covariance, batch: Blocks, k: int, room: _Room, floor: float) -> list[tuple[int, float]]:
    """Lazy greedy on the information form: an old gain is an upper bound of the gain now."""
    matrix, stacks = _start(covariance, batch, k)
    place = {int(i): (s, row) for s, (indices, _) in enumerate(stacks) for row, i in enumerate(indices)}
    factor = _factored(matrix)
    heap: list[tuple[float, int, int]] = []
    for indices, blocks in stacks:
        first = information(factor, blocks)
        heap.extend((-float(g), int(i), 0) for g, i in zip(first, indices, strict=True) if room.open[i])
    heapq.heapify(heap)
    chosen: list[tuple[int, float]] = []
    while heap and len(chosen) < k:
        bound, index, age = heapq.heappop(heap)
        if not room.open[index]:
            continue
        if age < len(chosen):
            stale = [index]
            while heap and heap[0][2] < len(chosen) and len(stale) < _AT_ONCE:
                other = heapq.heappop(heap)[1]
                if room.open[other]:
                    stale.append(other)
            for gain, i in _renewed(factor, stacks, place, stale):
                heapq.heappush(heap, (-gain, i, len(chosen)))
            continue
        if -bound < floor:
            break
        chosen.append((index, -bound))
        room.take(index)
        s, row = place[index]
        rows = stacks[s][1][row]
        matrix = matrix + rows.T @ rows
        factor = _factored(matrix)
    return chosen


def _factored(matrix: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.cholesky(matrix), dtype=float)


def _renewed(
    factor: FloatArray,
    stacks: list[tuple[np.ndarray, FloatArray]],
    place: dict[int, tuple[int, int]],
    stale: list[int],
) -> list[tuple[float, int]]:
    by_stack: dict[int, list[int]] = {}
    for i in stale:
        by_stack.setdefault(place[i][0], []).append(i)
    renewed: list[tuple[float, int]] = []
    for s, members in by_stack.items():
        blocks = stacks[s][1][[place[i][1] for i in members]]
        renewed.extend(zip(information(factor, blocks).tolist(), members, strict=True))
    return renewed


def _cholesky(covariance: Covariance, batch: Blocks, k: int, room: _Room, floor: float) -> list[tuple[int, float]]:
    """Full greedy on the information form with one row each, O(n d) per choice.

    t_i = x_iᵀ A⁻¹ x_i gives the gain ln(1 + t_i). Choosing x_j turns A into A + x_j x_jᵀ, and
    t_i into t_i − (x_iᵀ A⁻¹ x_j)² / (1 + t_j).
    """
    matrix, stacks = _start(covariance, batch, k)
    if any(blocks.shape[1] != 1 for _, blocks in stacks):
        raise InputError(
            'method="cholesky" takes one row per candidate: use Covariance("per-config"), '
            'or method="information" for blocks of rows.'
        )
    order = np.concatenate([indices for indices, _ in stacks])
    x = np.empty((len(batch), matrix.shape[0]))
    x[order] = np.concatenate([blocks[:, 0] for _, blocks in stacks])
    factor = _factored(matrix)
    t = np.expm1(information(factor, x[:, None, :]))
    chosen: list[tuple[int, float]] = []
    while len(chosen) < k and room.open.any():
        best = int(np.argmax(np.where(room.open, t, -np.inf)))
        gain = float(np.log1p(t[best]))
        if gain < floor:
            break
        chosen.append((best, gain))
        room.take(best)
        along = x @ cho_solve((factor, True), x[best], check_finite=False)
        t = np.maximum(t - along**2 / (1.0 + t[best]), 0.0)
        update_factor(factor, x[best])
    return chosen


@compiled
def update_factor(factor: Any, x: Any) -> None:
    """Turn the Cholesky factor of A into that of A + x xᵀ, in place, O(d²) (Golub and Van Loan, 6.5.4)."""
    x = x.copy()
    for i in range(len(x)):
        r = math.sqrt(factor[i, i] ** 2 + x[i] ** 2)
        c = r / factor[i, i]
        s = x[i] / factor[i, i]
        factor[i, i] = r
        for j in range(i + 1, len(x)):
            factor[j, i] = (factor[j, i] + s * x[j]) / c
            x[j] = c * x[j] - s * factor[j, i]
