"""What a member's energy depends on, weight by weight: ∂E/∂θ of a frame, sketched to a few hundred numbers.

Two frames whose rows are parallel are one to the member's training: the label of the one settles the other. Each weight
is added, with a random sign, to one random component; inner products of rows are kept in the mean, with a relative
standard deviation of about 1/√size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms

from tentpole.errors import InputError
from tentpole.records import FloatArray

SIZE = 512


class GradientFeatures:
    """Sketched derivatives of one member's energy with respect to its weights.

    committee : a tentpole.committee.Committee. member : whose, 0 to M − 1. size : components. seed : of the sketch.
    """

    def __init__(self, committee: Any, member: int = 0, *, size: int = SIZE, seed: int = 0) -> None:
        from tentpole.committee.baseline import without_baseline

        if not 0 <= member < committee.size:
            raise InputError(f"member {member} is not of this committee: legal are 0 to {committee.size - 1}.")
        seats = [(voter, vote) for voter in committee.voters for vote in range(voter.votes)]
        voter, self._vote = seats[member]
        self._voter = without_baseline(voter)
        if not hasattr(self._voter, "model"):
            raise InputError("the gradient of weights is known of MACE members alone: this one is of another kind.")
        self.size = size
        rng = np.random.default_rng(seed)
        count = sum(weight.numel() for weight in self._voter.model.parameters())
        self._place, self._sign = rng.integers(0, size, count), rng.choice([-1.0, 1.0], count)

    def rows(self, frames: Sequence[Atoms]) -> FloatArray:
        """Derivatives of each frame's energy by the weights, sketched, over the root of the number of atoms.

        Parameters
        ----------
        frames : sequence of Atoms

        Returns
        -------
        (n, size) array
            ∂E/∂θ / √N, in eV per unit of weight: large frames count no more than small ones.
        """
        return np.array([self._row(atoms) for atoms in frames]).reshape(len(frames), self.size)

    def _row(self, atoms: Atoms) -> FloatArray:
        import torch

        from tentpole.committee.graph import edges_within, graph_of
        from tentpole.committee.mace_voter import tensors

        voter = self._voter
        graph = graph_of(atoms, edges_within(atoms, voter.cutoff))
        heads = [voter.heads[self._vote]]
        inputs = tensors(graph, voter.numbers, heads, voter.dtype, voter.device, voter.embeddings)
        weights = list(voter.model.parameters())
        needed = [weight.requires_grad for weight in weights]
        try:
            for weight in weights:
                weight.requires_grad_(True)
            with torch.enable_grad():
                energy = voter.model(inputs, training=True, compute_force=False)["interaction_energy"].sum()
            gradients = torch.autograd.grad(energy, weights, allow_unused=True)
        finally:
            for weight, before in zip(weights, needed, strict=True):
                weight.requires_grad_(before)
        flat = np.concatenate(
            [
                np.zeros(weight.numel()) if part is None else part.double().cpu().numpy().ravel()
                for weight, part in zip(weights, gradients, strict=True)
            ]
        )
        sums = np.bincount(self._place, weights=self._sign * flat, minlength=self.size)
        return np.asarray(sums / np.sqrt(len(atoms)), dtype=np.float64)
