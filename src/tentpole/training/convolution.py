"""MACE's convolution over edges, summed at the receiving atoms, with its first and second derivatives.

Every edge (j → n) carries the message

    m[n, r, c] += Σ_t coefficient_t Y[q, m2_t] x[j, m1_t, c] T[q, p_t, c]        t : the terms of row r,

x being the node features, T the radial weights and Y the spherical harmonics of the pair q that the edge belongs to.
A pair is two edges, one each way, with the same T and with Y(−v) = ± Y(v). Forces are first derivatives of energies,
so a loss over forces needs second derivatives of m: they are written out here, since on the small graphs of a training
batch a tensor library spends its time on temporaries of (edges, rows, channels).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tentpole.entropy.compiled import compiled

Array = NDArray[Any]
Tensor = torch.Tensor


@dataclass(frozen=True)
class Terms:
    """The non-zero products of a convolution, sorted by radial weight p and feature component m1.

    rows (t, 4) : row r of the message, radial weight p, number of the pair (p, m1), feature component m1 of each term.
    starts (t + 1,) : where its harmonics begin in `harmonics` (m2) and `coefficients`. signs : of Y(−v) over Y(v), per
    m2. dense (rows of the message, m1, m2) : the same coefficients as one array.
    """

    rows: Array
    starts: Array
    harmonics: Array
    coefficients: Array
    signs: Array
    dense: Array
    radial: Array

    @classmethod
    def of(cls, dense: Array, radial: Array, signs: Array) -> Terms:
        """The terms of `dense`; radial (rows,) is each row's p."""
        entries = sorted((int(radial[r]), m1, r) for r, m1 in zip(*np.nonzero(np.abs(dense).any(axis=2)), strict=True))
        couples: dict[tuple[int, int], int] = {}
        rows = [(r, p, couples.setdefault((p, m1), len(couples)), m1) for p, m1, r in entries]
        columns = [np.flatnonzero(dense[r, m1]) for _, m1, r in entries]
        coefficients = [dense[r, m1, where] for (_, m1, r), where in zip(entries, columns, strict=True)]
        return cls(
            rows=np.array(rows, dtype=np.int64).reshape(-1, 4),
            starts=np.cumsum([0, *map(len, columns)]).astype(np.int64),
            harmonics=np.concatenate(columns).astype(np.int64),
            coefficients=np.concatenate(coefficients),
            signs=signs,
            dense=dense,
            radial=radial,
        )

    def table(self, dtype: Any) -> tuple[Array, Array, Array, Array, Array]:
        """What the kernels read, numbers in `dtype`: the last are the coefficients of v and of −v, side by side."""
        both = np.stack([self.coefficients, self.coefficients * self.signs[self.harmonics]])
        return self.rows, self.starts, self.harmonics, both.astype(dtype), np.zeros(1, dtype)


@dataclass(frozen=True)
class NeighbourPairs:
    """Pairs of atoms (q,): an edge send → receive and one back. Indices count the atoms of all members through.

    `index` is (send, receive) as tensors on the device of the features; the arrays are the same on the host.
    """

    send: Array
    receive: Array
    index: Tensor


def convolve(harmonics: Tensor, features: Tensor, radial: Tensor, pairs: NeighbourPairs, terms: Terms) -> Tensor:
    """Messages (n, rows, C) from Y (q, m2), x (n, m1, C) and T (q, p, C); can be differentiated twice."""
    if features.device.type == "cpu":
        table = terms.table(features.detach().numpy().dtype)
        sums: Tensor = _Convolution.apply(harmonics, features, radial, pairs, table, len(terms.dense))  # type: ignore[no-untyped-call]
        return sums
    return convolve_by_tensors(harmonics, features, radial, pairs, terms)


def convolve_by_tensors(
    harmonics: Tensor, features: Tensor, radial: Tensor, pairs: NeighbourPairs, terms: Terms
) -> Tensor:
    """`convolve` in torch's own operations, for any device."""
    like: dict[str, Any] = {"dtype": features.dtype, "device": features.device}
    dense = torch.as_tensor(terms.dense, **like)
    rows, components, _ = dense.shape
    both = torch.cat([harmonics, harmonics * torch.as_tensor(terms.signs, **like)])
    coupled = (both @ dense.flatten(0, 1).T).view(-1, rows, components)
    send, receive = pairs.index
    neighbours = features.index_select(0, torch.cat([send, receive]))
    weights = radial.index_select(1, torch.as_tensor(terms.radial, device=features.device))
    messages = torch.bmm(coupled, neighbours) * weights.repeat(2, 1, 1)
    empty = torch.zeros(len(features), rows, features.shape[2], **like)
    sums: Tensor = empty.index_add(0, torch.cat([receive, send]), messages)
    return sums


def load_kernels() -> None:
    """Have the machine code at hand, compiled now or read from disk, for both precisions."""
    terms = Terms.of(np.ones((1, 1, 1)), np.zeros(1), np.ones(1))
    for dtype in (np.float32, np.float64):
        one = np.zeros((1, 1, 1), dtype)
        wave, pairs = np.zeros((1, 1), dtype), np.zeros(1, np.int64)
        inputs = (wave, one, one)
        table = (pairs, pairs, *terms.table(dtype))
        _sum_messages(*inputs, *table, one.copy())
        _sum_gradients(*inputs, one, *table, wave.copy(), one.copy(), one.copy())
        cotangents = (wave, one, one)
        _sum_second(*inputs, one, *cotangents, *table, wave.copy(), one.copy(), one.copy(), one.copy())


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor, t: Tensor, pairs: NeighbourPairs, table: Any, rows: int) -> Tensor:
        ctx.save_for_backward(y, x, t)
        ctx.rest = (pairs, table)
        out = np.zeros((x.shape[0], rows, x.shape[2]), table[-1].dtype)
        inputs: list[Any] = [*_arrays(y, x, t), pairs.send, pairs.receive, *table, out]
        _sum_messages(*inputs)
        return torch.from_numpy(out)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return (*_Gradient.apply(*ctx.saved_tensors, gradients[0].contiguous(), *ctx.rest), None, None, None)  # type: ignore[no-untyped-call]


class _Gradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, x: Tensor, t: Tensor, g: Tensor, pairs: NeighbourPairs, table: Any) -> Any:
        ctx.save_for_backward(y, x, t, g)
        ctx.rest = (pairs, table)
        arrays = _arrays(y, x, t, g)
        out = [np.zeros_like(array) for array in arrays[:3]]
        inputs: list[Any] = [*arrays, pairs.send, pairs.receive, *table, *out]
        _sum_gradients(*inputs)
        return tuple(map(torch.from_numpy, out))

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        pairs, table = ctx.rest
        arrays = _arrays(*ctx.saved_tensors)
        out = [np.zeros_like(array) for array in arrays]
        inputs: list[Any] = [*arrays, *_arrays(*gradients), pairs.send, pairs.receive, *table, *out]
        _sum_second(*inputs)
        return (*map(torch.from_numpy, out), None, None)


def _arrays(*tensors: Tensor) -> list[Array]:
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


# In the kernels below, loops over channels are short, and each writes one array: a loop over several would need more
# checks for overlap than the compiler allows itself, and would be left without vector units.


@compiled
def _sum_messages(
    Y: Array,
    x: Array,
    T: Array,
    send: Array,
    receive: Array,
    rows: Array,
    starts: Array,
    harmonics: Array,
    coefficients: Array,
    zero: Array,
    out: Array,
) -> None:
    C, n_terms = x.shape[2], len(rows)
    u = np.empty(C, x.dtype)
    for q in range(len(send)):
        for way in range(2):
            j, n = (send[q], receive[q]) if way == 0 else (receive[q], send[q])
            before = -1
            for t in range(n_terms):
                r, p, couple, m1 = rows[t, 0], rows[t, 1], rows[t, 2], rows[t, 3]
                if couple != before:
                    before = couple
                    for c in range(C):
                        u[c] = x[j, m1, c] * T[q, p, c]
                g = zero[0]
                for i in range(starts[t], starts[t + 1]):
                    g += coefficients[way, i] * Y[q, harmonics[i]]
                for c in range(C):
                    out[n, r, c] += g * u[c]


@compiled
def _sum_gradients(  # noqa: C901 - loops within loops
    Y: Array,
    x: Array,
    T: Array,
    v: Array,
    send: Array,
    receive: Array,
    rows: Array,
    starts: Array,
    harmonics: Array,
    coefficients: Array,
    zero: Array,
    out_Y: Array,
    out_x: Array,
    out_T: Array,
) -> None:
    C, n_terms = x.shape[2], len(rows)
    u, w = np.empty(C, x.dtype), np.empty(C, x.dtype)
    for q in range(len(send)):
        for way in range(2):
            j, n = (send[q], receive[q]) if way == 0 else (receive[q], send[q])
            t = 0
            while t < n_terms:
                p, couple, m1 = rows[t, 1], rows[t, 2], rows[t, 3]
                for c in range(C):
                    u[c] = x[j, m1, c] * T[q, p, c]
                for c in range(C):
                    w[c] = 0
                while t < n_terms and rows[t, 2] == couple:
                    r = rows[t, 0]
                    g, s = zero[0], zero[0]
                    for i in range(starts[t], starts[t + 1]):
                        g += coefficients[way, i] * Y[q, harmonics[i]]
                    for c in range(C):
                        s += v[n, r, c] * u[c]
                    for c in range(C):
                        w[c] += g * v[n, r, c]
                    for i in range(starts[t], starts[t + 1]):
                        out_Y[q, harmonics[i]] += coefficients[way, i] * s
                    t += 1
                for c in range(C):
                    out_x[j, m1, c] += w[c] * T[q, p, c]
                for c in range(C):
                    out_T[q, p, c] += w[c] * x[j, m1, c]


@compiled
def _sum_second(  # noqa: C901 - loops within loops
    Y: Array,
    x: Array,
    T: Array,
    v: Array,
    a_Y: Array,
    a_x: Array,
    a_T: Array,
    send: Array,
    receive: Array,
    rows: Array,
    starts: Array,
    harmonics: Array,
    coefficients: Array,
    zero: Array,
    out_Y: Array,
    out_x: Array,
    out_T: Array,
    out_v: Array,
) -> None:
    C, n_terms = x.shape[2], len(rows)
    u1, u2 = np.empty(C, x.dtype), np.empty(C, x.dtype)
    w1, w2 = np.empty(C, x.dtype), np.empty(C, x.dtype)
    for q in range(len(send)):
        for way in range(2):
            j, n = (send[q], receive[q]) if way == 0 else (receive[q], send[q])
            t = 0
            while t < n_terms:
                p, couple, m1 = rows[t, 1], rows[t, 2], rows[t, 3]
                for c in range(C):
                    u1[c] = x[j, m1, c] * T[q, p, c]
                for c in range(C):
                    u2[c] = a_x[j, m1, c] * T[q, p, c] + x[j, m1, c] * a_T[q, p, c]
                for c in range(C):
                    w1[c] = 0
                for c in range(C):
                    w2[c] = 0
                while t < n_terms and rows[t, 2] == couple:
                    r = rows[t, 0]
                    g, a, s = zero[0], zero[0], zero[0]
                    for i in range(starts[t], starts[t + 1]):
                        g += coefficients[way, i] * Y[q, harmonics[i]]
                        a += coefficients[way, i] * a_Y[q, harmonics[i]]
                    for c in range(C):
                        s += v[n, r, c] * u2[c]
                    for c in range(C):
                        w1[c] += g * v[n, r, c]
                    for c in range(C):
                        w2[c] += a * v[n, r, c]
                    for c in range(C):
                        out_v[n, r, c] += a * u1[c] + g * u2[c]
                    for i in range(starts[t], starts[t + 1]):
                        out_Y[q, harmonics[i]] += coefficients[way, i] * s
                    t += 1
                for c in range(C):
                    out_x[j, m1, c] += w2[c] * T[q, p, c] + w1[c] * a_T[q, p, c]
                for c in range(C):
                    out_T[q, p, c] += w2[c] * x[j, m1, c] + w1[c] * a_x[j, m1, c]
