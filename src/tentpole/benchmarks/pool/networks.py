"""The study's networks (arXiv:2601.06916): d-128-128-1, ReLU, Adam 1e-3, mean squared error, trained together.

All members are one batch of matrix products in float32 and one array of weights. NumPy does it in less than half
of torch's time: in networks as small as these the bookkeeping around the products costs as much as they do.
Activations carry a last column of ones, so that a layer's bias is the last row of its weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tentpole.records import FloatArray

Float32 = NDArray[np.float32]
_BETA1, _BETA2, _EPS = 0.9, 0.999, 1e-8  # of Adam, as its authors set them


@dataclass(frozen=True)
class Networks:
    """`members` networks d-hidden-hidden-1, full-batch Adam for `epochs` steps, Glorot-uniform initial weights.

    The mean over members is the prediction, their population standard deviation the uncertainty. 100 steps:
    with 30 to 105 labels of 13 descriptors, 50 to 100 gave the lowest error on held-out rows and 200 or more
    overfit.
    """

    members: int = 5
    hidden: int = 128
    epochs: int = 100
    learning_rate: float = 1e-3

    def fit(self, inputs: FloatArray, targets: FloatArray, seed: int) -> FittedNetworks:
        """Networks trained on inputs (n, d) and targets (n,), both standardised by the caller."""
        sizes = list(pairwise((inputs.shape[1], self.hidden, self.hidden, 1)))
        shapes = [(self.members, fan_in + 1, fan_out) for fan_in, fan_out in sizes]
        limits = [(6.0 / (fan_in + fan_out)) ** 0.5 for fan_in, fan_out in sizes]
        flat = np.empty(sum(int(np.prod(shape)) for shape in shapes), dtype=np.float32)
        slope = np.empty_like(flat)
        weights = _views(flat, shapes)
        rng = np.random.default_rng(seed)
        for layer, limit in zip(weights, limits, strict=True):
            layer[:] = rng.uniform(-limit, limit, layer.shape)
        slopes = _Slopes(_with_ones(inputs), targets.astype(np.float32), weights, _views(slope, shapes))
        adam = _Adam(flat, slope, self.learning_rate)
        for _ in range(self.epochs):
            slopes.update()
            adam.step()
        return FittedNetworks(tuple(weights))


@dataclass(frozen=True)
class FittedNetworks:
    """Trained members: per layer its weights (members, inputs + 1, outputs), the last row the bias."""

    weights: tuple[Float32, ...]
    rows_at_once: int = 512  # activations of a member stay in the cache

    def predict(self, inputs: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation (m,) over the members for inputs (m, d)."""
        w1, w2, w3 = self.weights
        x, hidden = _with_ones(inputs), w1.shape[2]
        each = np.empty((len(w1), len(x)), dtype=np.float32)
        h1 = np.ones((self.rows_at_once, hidden + 1), dtype=np.float32)
        h2, zero = np.ones_like(h1), np.zeros_like(h1)  # a maximum with an array is faster than one with a number
        for first in range(0, len(x), self.rows_at_once):
            block = x[first : first + self.rows_at_once]
            a, b = h1[: len(block)], h2[: len(block)]
            for member in range(len(w1)):
                np.matmul(block, w1[member], out=a[:, :hidden])
                np.maximum(a, zero[: len(block)], out=a)
                np.matmul(a, w2[member], out=b[:, :hidden])
                np.maximum(b, zero[: len(block)], out=b)
                np.matmul(b, w3[member, :, 0], out=each[member, first : first + len(block)])
        y = each.astype(float)
        return y.mean(axis=0), y.std(axis=0)


class _Slopes:
    """Gradients of each member's mean squared error, by the chain rule, into arrays made once."""

    def __init__(self, x: Float32, y: Float32, weights: Sequence[Float32], slopes: Sequence[Float32]) -> None:
        self.x, self.y, self.weights, self.slopes = x, y[:, None], weights, slopes
        members, _, hidden = weights[0].shape
        self.h1, self.h2 = (np.ones((members, len(x), hidden + 1), dtype=np.float32) for _ in range(2))
        self.d1, self.d2 = (np.empty((members, len(x), hidden), dtype=np.float32) for _ in range(2))
        self.out = np.empty((members, len(x), 1), dtype=np.float32)
        self.zero = np.zeros_like(self.h1)  # a maximum with an array is five times as fast as one with a number

    def update(self) -> None:
        (w1, w2, w3), (g1, g2, g3) = self.weights, self.slopes
        h1, h2, d1, d2, out = self.h1, self.h2, self.d1, self.d2, self.out
        np.matmul(self.x, w1, out=h1[:, :, :-1])
        np.maximum(h1, self.zero, out=h1)
        np.matmul(h1, w2, out=h2[:, :, :-1])
        np.maximum(h2, self.zero, out=h2)
        np.matmul(h2, w3, out=out)
        out -= self.y
        out *= np.float32(2 / len(self.y))
        np.matmul(h2.swapaxes(1, 2), out, out=g3)
        np.multiply(out, w3[:, :-1].swapaxes(1, 2), out=d2)
        d2 *= h2[:, :, :-1] > 0
        np.matmul(h1.swapaxes(1, 2), d2, out=g2)
        np.matmul(d2, w2[:, :-1].swapaxes(1, 2), out=d1)
        d1 *= h1[:, :, :-1] > 0
        np.matmul(self.x.T, d1, out=g1)


class _Adam:
    """Adam (Kingma and Ba, ICLR 2015) over one flat array, in place.

    The moments are kept as m / (1 − β₁) and v / (1 − β₂), which spares two passes over them:
    w ← w − rate · m' / (sqrt(v') + ε'), with the bias corrections of step t in rate and ε'.
    """

    def __init__(self, weights: Float32, slope: Float32, learning_rate: float) -> None:
        self.weights, self.slope, self.learning_rate = weights, slope, learning_rate
        self.first, self.second = np.zeros_like(weights), np.zeros_like(weights)
        self.spare = np.empty_like(weights)
        self.t = 0

    def step(self) -> None:
        self.t += 1
        first = (1 - _BETA1) / (1 - _BETA1**self.t)
        second = ((1 - _BETA2) / (1 - _BETA2**self.t)) ** 0.5
        m, v, g, s = self.first, self.second, self.slope, self.spare
        m *= np.float32(_BETA1)
        m += g
        v *= np.float32(_BETA2)
        np.multiply(g, g, out=s)
        v += s
        np.sqrt(v, out=s)
        s += np.float32(_EPS / second)
        np.divide(m, s, out=s)
        s *= np.float32(self.learning_rate * first / second)
        self.weights -= s


def _with_ones(inputs: FloatArray) -> Float32:
    """(n, d + 1) float32: the inputs and a column of ones."""
    x = np.ones((len(inputs), inputs.shape[1] + 1), dtype=np.float32)
    x[:, :-1] = inputs
    return x


def _views(flat: Float32, shapes: Sequence[tuple[int, int, int]]) -> list[Float32]:
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
    return [part.reshape(shape) for part, shape in zip(np.split(flat, ends), shapes, strict=True)]
