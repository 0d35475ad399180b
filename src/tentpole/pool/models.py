"""Models of a pool, each trained on the rows labelled so far, each with a prediction and a spread.

The study's model (arXiv:2601.06916) is five networks d-128-128-1 (ReLU, Adam 1e-3, mean squared error) that
differ by their initial weights. Here they are one batched tensor program: three `bmm` forward, five backward.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from tentpole.errors import unknown
from tentpole.state import FloatArray

if TYPE_CHECKING:
    import torch


class Fitted(Protocol):
    """What training gives: `predict(inputs)` -> (mean (m,), standard deviation (m,)) for inputs (m, d)."""

    def predict(self, inputs: FloatArray) -> tuple[FloatArray, FloatArray]: ...


class Model(Protocol):
    """`fit` trains on inputs (n, d) and targets (n,), both standardised by the caller; same arguments and
    seed, same bits."""

    def fit(self, inputs: FloatArray, targets: FloatArray, seed: int) -> Fitted: ...


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of the labelled rows; a column without spread is only centred."""

    centre: FloatArray
    width: FloatArray

    @classmethod
    def of(cls, values: FloatArray) -> Scale:
        width = values.std(axis=0)
        return cls(values.mean(axis=0), np.where(width > 1e-12, width, 1.0))

    def forward(self, values: FloatArray) -> FloatArray:
        return np.asarray((values - self.centre) / self.width)

    def back(self, values: FloatArray) -> FloatArray:
        return np.asarray(values * self.width + self.centre)


@dataclass(frozen=True)
class Networks:
    """`members` networks d-128-128-1, full-batch Adam for `epochs` steps, Glorot-uniform initial weights.

    The mean over members is the prediction, their population standard deviation the uncertainty. 100 steps:
    with 30 to 105 labels of 13 descriptors, 50 to 100 gave the lowest error on held-out rows and 200 or more
    overfit. The batch is always these members alone, so a result does not depend on what else is trained.
    """

    members: int = 5
    hidden: int = 128
    epochs: int = 100
    learning_rate: float = 1e-3

    def fit(self, inputs: FloatArray, targets: FloatArray, seed: int) -> Fitted:
        import torch

        layers = list(pairwise((inputs.shape[1], self.hidden, self.hidden, 1)))
        generator = torch.Generator().manual_seed(seed)
        start = [
            (torch.rand((self.members, rows, fan_out), generator=generator) * 2 - 1)
            * (6.0 / (fan_in + fan_out)) ** 0.5
            for fan_in, fan_out in layers
            for rows in (fan_in, 1)
        ]
        # one flat tensor of all weights and one of all slopes: the optimizer takes a single step over them
        flat = torch.cat([w.flatten() for w in start])
        flat.grad = torch.zeros_like(flat)
        weights = _views(flat, start)
        optimizer = torch.optim.Adam([flat], lr=self.learning_rate, fused=True)
        x = torch.from_numpy(inputs).float().expand(self.members, -1, -1).contiguous()
        with torch.no_grad():
            step = _Slopes(x, torch.from_numpy(targets).float(), weights, _views(flat.grad, start))
            for _ in range(self.epochs):
                step.update()
                optimizer.step()
        return FittedNetworks(tuple(weights))


def _views(flat: torch.Tensor, like: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    import torch

    parts = torch.split(flat, [w.numel() for w in like])
    return [part.view(w.shape) for part, w in zip(parts, like, strict=True)]


class _Slopes:
    """Gradients of each member's mean squared error, by the chain rule, into tensors made once.

    The same numbers as autograd gives, in about three quarters of its time: in networks as small as these,
    making tensors costs as much as filling them.
    """

    def __init__(
        self, x: torch.Tensor, y: torch.Tensor, weights: list[torch.Tensor], slopes: list[torch.Tensor]
    ) -> None:
        self.x, self.y, self.weights, self.slopes = x, y[:, None], weights, slopes
        shape = (*x.shape[:2], weights[0].shape[2])
        self.h1, self.h2, self.d1, self.d2 = (x.new_empty(shape) for _ in range(4))
        self.out = x.new_empty((*x.shape[:2], 1))

    def update(self) -> None:
        import torch

        through_relu = torch.ops.aten.threshold_backward.grad_input
        w1, b1, w2, b2, w3, b3 = self.weights
        g1, c1, g2, c2, g3, c3 = self.slopes
        torch.baddbmm(b1, self.x, w1, out=self.h1).relu_()
        torch.baddbmm(b2, self.h1, w2, out=self.h2).relu_()
        torch.baddbmm(b3, self.h2, w3, out=self.out).sub_(self.y).mul_(2 / len(self.y))
        torch.bmm(self.h2.mT, self.out, out=g3)
        torch.sum(self.out, 1, keepdim=True, out=c3)
        torch.mul(self.out, w3.mT, out=self.d2)
        through_relu(self.d2, self.h2, 0, grad_input=self.d2)
        torch.bmm(self.h1.mT, self.d2, out=g2)
        torch.sum(self.d2, 1, keepdim=True, out=c2)
        torch.bmm(self.d2, w2.mT, out=self.d1)
        through_relu(self.d1, self.h1, 0, grad_input=self.d1)
        torch.bmm(self.x.mT, self.d1, out=g1)
        torch.sum(self.d1, 1, keepdim=True, out=c1)


def outputs(weights: Sequence[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """(members, m) outputs for inputs (members, m, d); weights and biases in the order of the layers."""
    import torch

    h = torch.relu(torch.baddbmm(weights[1], x, weights[0]))
    h = torch.relu(torch.baddbmm(weights[3], h, weights[2]))
    return torch.baddbmm(weights[5], h, weights[4])[..., 0]


@dataclass(frozen=True)
class FittedNetworks:
    weights: tuple[torch.Tensor, ...]
    rows_at_once: int = 2048  # 5 × 2048 × 128 floats stay in the cache

    def predict(self, inputs: FloatArray) -> tuple[FloatArray, FloatArray]:
        import torch

        members = len(self.weights[0])
        with torch.inference_mode():
            parts = [
                outputs(self.weights, torch.from_numpy(block).float().expand(members, -1, -1))
                for block in np.split(inputs, range(self.rows_at_once, len(inputs), self.rows_at_once))
            ]
            y = torch.cat(parts, dim=1).double().numpy()
        return y.mean(axis=0), y.std(axis=0)


@dataclass(frozen=True)
class Forest:
    """A random forest (scikit-learn); the spread over its trees is the uncertainty."""

    trees: int = 100

    def fit(self, inputs: FloatArray, targets: FloatArray, seed: int) -> Fitted:
        from sklearn.ensemble import RandomForestRegressor

        return FittedForest(RandomForestRegressor(self.trees, random_state=seed % 2**32).fit(inputs, targets))


@dataclass(frozen=True)
class FittedForest:
    forest: Any

    def predict(self, inputs: FloatArray) -> tuple[FloatArray, FloatArray]:
        each = np.stack([tree.predict(inputs) for tree in self.forest.estimators_])
        return each.mean(axis=0), each.std(axis=0)


@dataclass(frozen=True)
class GaussianProcess:
    """A Gaussian process (scikit-learn): Matérn 5/2, one length, and noise, by maximum likelihood."""

    restarts: int = 0

    def fit(self, inputs: FloatArray, targets: FloatArray, seed: int) -> Fitted:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        d = inputs.shape[1]
        kernel = ConstantKernel(1.0) * Matern(d**0.5, (0.1, 1e3), nu=2.5) + WhiteKernel(0.1, (1e-4, 10.0))
        model = GaussianProcessRegressor(
            kernel, n_restarts_optimizer=self.restarts, random_state=seed % 2**32
        )
        with warnings.catch_warnings():
            # a length or noise at its bound is an answer here, not a failure
            warnings.simplefilter("ignore", ConvergenceWarning)
            return FittedGaussianProcess(model.fit(inputs, targets))


@dataclass(frozen=True)
class FittedGaussianProcess:
    model: Any

    def predict(self, inputs: FloatArray) -> tuple[FloatArray, FloatArray]:
        mean, std = self.model.predict(inputs, return_std=True)
        return np.asarray(mean), np.asarray(std)


MODELS: dict[str, type[Networks] | type[Forest] | type[GaussianProcess]] = {
    "networks": Networks,
    "forest": Forest,
    "gaussian-process": GaussianProcess,
}


def model(name: str) -> Model:
    """The model of this name, with its default settings. Raises InputError for another name."""
    if name not in MODELS:
        raise unknown("model", name, MODELS)
    return MODELS[name]()
