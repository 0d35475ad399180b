"""A member that is linear in its weights: the energy of a trained model, and its derivative along one change of them.

    E(x) = b E(x; w) + ∂E(x; w)/∂w · d        b = 1 where it is the whole energy, 0 where it is a difference alone

The weights w stay those of the start; d is what the labels have taught. The derivative is a difference of the same
network at two sets of weights, which forces and stresses are exact derivatives of:

    ∂E/∂w · d  =  [E(x; w + h d) − E(x; w − h d)] / 2h

in float64, with h |d| = 0.001: what the step leaves out is a millionth of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tentpole.committee.graph import Graph
from tentpole.committee.mace_architecture import copied
from tentpole.committee.mace_voter import MaceVoter, kinds_of

FloatArray = NDArray[np.float64]
LENGTH = 1e-3
"""Of the step along the change, in weights, whose own length is about the root of their number."""


@dataclass(frozen=True)
class LinearChange:
    """change : by name of the weight. whole : whether the start's own energy counts. step : h."""

    change: Mapping[str, Any]
    whole: bool
    step: float

    @property
    def factors(self) -> tuple[float, float]:
        """Of the energies at w + h d and at w − h d, whose mean is the start's own."""
        own = 0.5 if self.whole else 0.0
        return own + 0.5 / self.step, own - 0.5 / self.step


class LinearVoter(MaceVoter):
    """One member. model : mace's, with the weights of the start, in float64."""

    def __init__(self, model: Any, linear: LinearChange, device: str) -> None:
        import torch

        super().__init__(model, [0], device)
        self._sides = []
        for sign in (1.0, -1.0):
            side = copied(self.model)
            with torch.no_grad():
                for name, weight in side.named_parameters():
                    weight.add_(linear.change[name].to(weight), alpha=sign * linear.step)
            self._sides.append(MaceVoter(side, [0], device))
            self._sides[-1].e0s = np.zeros_like(self.e0s)
        self._factors = linear.factors

    @property
    def terms(self) -> tuple[tuple[float, Any], ...]:
        """The models on both sides, each with its factor."""
        return tuple((factor, side.model) for factor, side in zip(self._factors, self._sides, strict=True))

    def evaluate(
        self, graph: Graph, votes: Sequence[int], stress: bool
    ) -> tuple[FloatArray, FloatArray, FloatArray | None]:
        """Energies (v, n) in eV, forces (v, N, 3) in eV/Å, stresses (v, n, 6) in eV/Å³ of the given votes."""
        more, less = self._factors
        plus, minus = (side.evaluate(graph, votes, stress) for side in self._sides)
        isolated = np.add.reduceat(self.e0s[list(votes)][:, kinds_of(graph, self.numbers)], graph.starts[:-1], axis=1)
        energies, forces = more * plus[0] + less * minus[0], more * plus[1] + less * minus[1]
        stresses = None if plus[2] is None or minus[2] is None else more * plus[2] + less * minus[2]
        return isolated + energies, forces, stresses
