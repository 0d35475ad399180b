"""Models of a pool, each trained on the rows labelled so far, each with a prediction and a spread."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tentpole.benchmarks.pool.networks import Networks
from tentpole.errors import unknown
from tentpole.records import FloatArray


class Fitted(Protocol):
    """What training gives: `predict(inputs)` -> (mean (m,), standard deviation (m,)) for inputs (m, d)."""

    def predict(self, inputs: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation (m,) for inputs (m, d)."""
        ...


class Model(Protocol):
    """What can be trained on inputs (n, d) and targets (n,), both standardised by the caller.

    The same arguments and seed give the same bits.
    """

    def fit(self, inputs: FloatArray, targets: FloatArray, seed: int) -> Fitted:
        """Train on inputs (n, d) and targets (n,)."""
        ...


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of the labelled rows; a column without spread is only centred."""

    centre: FloatArray
    width: FloatArray

    @classmethod
    def of(cls, values: FloatArray) -> Scale:
        """That of the rows `values` (n, ...)."""
        width = values.std(axis=0)
        return cls(values.mean(axis=0), np.where(width > 1e-12, width, 1.0))

    def forward(self, values: FloatArray) -> FloatArray:
        """Centred, and divided by the width."""
        return np.asarray((values - self.centre) / self.width)

    def back(self, values: FloatArray) -> FloatArray:
        """What `forward` was given."""
        return np.asarray(values * self.width + self.centre)


@dataclass(frozen=True)
class Forest:
    """A random forest (scikit-learn); the spread over its trees is the uncertainty."""

    trees: int = 100

    def fit(self, inputs: FloatArray, targets: FloatArray, seed: int) -> Fitted:
        """See Model."""
        from sklearn.ensemble import RandomForestRegressor

        return FittedForest(RandomForestRegressor(self.trees, random_state=seed % 2**32).fit(inputs, targets))


@dataclass(frozen=True)
class FittedForest:
    """A trained forest."""

    forest: Any

    def predict(self, inputs: FloatArray) -> tuple[FloatArray, FloatArray]:
        """See Fitted."""
        each = np.stack([tree.predict(inputs) for tree in self.forest.estimators_])
        return each.mean(axis=0), each.std(axis=0)


@dataclass(frozen=True)
class GaussianProcess:
    """A Gaussian process (scikit-learn): Matérn 5/2, one length, and noise, by maximum likelihood."""

    restarts: int = 0

    def fit(self, inputs: FloatArray, targets: FloatArray, seed: int) -> Fitted:
        """See Model."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

        d = inputs.shape[1]
        kernel = ConstantKernel(1.0) * Matern(d**0.5, (0.1, 1e3), nu=2.5) + WhiteKernel(0.1, (1e-4, 10.0))
        model = GaussianProcessRegressor(kernel, n_restarts_optimizer=self.restarts, random_state=seed % 2**32)
        with warnings.catch_warnings():
            # a length or noise at its bound is an answer here, not a failure
            warnings.simplefilter("ignore", ConvergenceWarning)
            return FittedGaussianProcess(model.fit(inputs, targets))


@dataclass(frozen=True)
class FittedGaussianProcess:
    """A trained Gaussian process."""

    model: Any

    def predict(self, inputs: FloatArray) -> tuple[FloatArray, FloatArray]:
        """See Fitted."""
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
