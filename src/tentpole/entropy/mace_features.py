"""A committee member's own view of its atoms as a fingerprint: MACE's invariant node features.

Row i holds the scalar (l = 0, even) part of atom i's features after every interaction: (N, layers · channels),
dimensionless, unscaled. What the potential itself sees as different lies apart; what it has not learnt to see
does not. The pullback is torch's reverse-mode derivative through the network.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms

from tentpole.entropy.fingerprint import Pullback
from tentpole.errors import InputError
from tentpole.records import FloatArray


class MaceFeatures:
    """Invariant node features of one member of a committee of MACE models.

    Covariances of these rows want an ε, or a `scale`, of their own: features are not of order 1 as overlap
    eigenvalues are. Members of one backbone with several heads share their features.

    Parameters
    ----------
    committee : Committee
        Of MACE models.
    member : int
        Whose features, 0 to M − 1.

    Raises
    ------
    InputError
        For a member that is not there, or of another kind.
    """

    def __init__(self, committee: Any, member: int = 0) -> None:
        from tentpole.committee.baseline import without_baseline

        if not 0 <= member < committee.size:
            raise InputError(f"member {member} is not of this committee: legal are 0 to {committee.size - 1}.")
        seats = [(voter, vote) for voter in committee.voters for vote in range(voter.votes)]
        voter, self._vote = seats[member]
        self._voter = without_baseline(voter)
        if not hasattr(self._voter.model, "products"):
            raise InputError("these node features are MACE's: this committee's members are of another kind.")
        self._columns = _scalar_columns(self._voter.model)

    @property
    def cutoff(self) -> float:
        """Å, of one interaction; features reach as many cutoffs as there are interactions."""
        return float(self._voter.cutoff)

    @property
    def size(self) -> int:
        """Length of a row."""
        return len(self._columns)

    def fingerprints(self, atoms: Atoms) -> FloatArray:
        """One row per atom.

        Parameters
        ----------
        atoms : Atoms

        Returns
        -------
        (N, size) array
        """
        return self.value_and_pullback(atoms)[0]

    def pullback(self, atoms: Atoms, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Derivatives of a function Φ of the rows by positions and strain.

        Parameters
        ----------
        atoms : Atoms
        weights : (N, size) array
            ∂Φ/∂row.

        Returns
        -------
        gradient : (N, 3) array
            ∂Φ/∂r, in units of Φ per Å.
        strain : (3, 3) array
            ∂Φ/∂ε.
        """
        return self.value_and_pullback(atoms)[1](weights)

    def value_and_pullback(self, atoms: Atoms) -> tuple[FloatArray, Pullback]:
        """One pass forward; each pullback is one pass back.

        Parameters
        ----------
        atoms : Atoms

        Returns
        -------
        rows : (N, size) array
        pullback : function
            From weights (N, size) to what `pullback` returns.
        """
        import torch

        from tentpole.committee.graph import edges_within, graph_of
        from tentpole.committee.mace_voter import tensors

        voter = self._voter
        graph = graph_of(atoms, edges_within(atoms, voter.cutoff))
        heads = [voter.heads[self._vote]]
        inputs = tensors(graph, voter.numbers, heads, voter.dtype, voter.device, voter.embeddings)
        positions = inputs["positions"].requires_grad_(True)
        strain = torch.zeros(3, 3, dtype=voter.dtype, device=voter.device, requires_grad=True)
        deformation = torch.eye(3, dtype=voter.dtype, device=voter.device) + 0.5 * (strain + strain.T)
        with torch.enable_grad():
            deformed = {key: inputs[key] @ deformation for key in ("positions", "shifts", "cell")}
            out = voter.model({**inputs, **deformed}, training=False, compute_force=False)
            features = out["node_feats"][:, self._columns]
        rows = features.detach().double().cpu().numpy()

        def pulled(weights: FloatArray) -> tuple[FloatArray, FloatArray]:
            if np.shape(weights) != rows.shape:
                raise ValueError(f"weights must have the rows' shape {rows.shape}, got {np.shape(weights)}")
            w = torch.as_tensor(np.asarray(weights), dtype=voter.dtype, device=voter.device)
            gradient, along = torch.autograd.grad(features, [positions, strain], w, retain_graph=True)
            return gradient.double().cpu().numpy(), along.double().cpu().numpy()

        return rows, pulled


def _scalar_columns(model: Any) -> list[int]:
    """The columns of a MACE model's concatenated node features that hold even scalars."""
    columns: list[int] = []
    at = 0
    for product in model.products:
        for multiplicity, irrep in product.linear.irreps_out:
            width = multiplicity * irrep.dim
            if irrep.l == 0 and irrep.p == 1:
                columns.extend(range(at, at + width))
            at += width
    return columns
