"""Potentials of others in a committee: any ASE calculator votes or drives, on its own energy scale or on ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import ArrayLike, NDArray
from typing_extensions import override

from tentpole.committee.committee import Committee, Voter
from tentpole.committee.graph import Graph, structures_of

FloatArray = NDArray[np.float64]


class AseVoter(Voter):
    """One vote of any ASE calculator.

    It finds its own neighbours, so that it needs none from the committee's list (cutoff 0). It is reset before each
    structure: what it was asked before (a list with a skin, a density to start from) changes no bit of its answer.

    Parameters
    ----------
    calculator : ase.calculators.calculator.Calculator
    numbers : sequence of int, optional
        The species it may be asked about; all of them where None.
    """

    cutoff = 0.0
    votes = 1

    def __init__(self, calculator: Calculator, numbers: Sequence[int] | None = None) -> None:
        self.calculator = calculator
        self.numbers: tuple[int, ...] = tuple(range(1, 119) if numbers is None else numbers)

    @override
    def evaluate(
        self, graph: Graph, votes: Sequence[int], stress: bool
    ) -> tuple[FloatArray, FloatArray, FloatArray | None]:
        """Energies, forces and stresses of one voter; NaN where the calculator has no stress.

        Parameters
        ----------
        graph : Graph
            n frames of N atoms in all.
        votes : sequence of int
            Ignored: there is one.
        stress : bool
            Whether stresses are wanted.

        Returns
        -------
        energies : (1, n) array
            eV.
        forces : (1, N, 3) array
            eV/Å.
        stresses : (1, n, 6) array or None
            eV/Å³, in ASE's Voigt order.
        """
        energies, forces = np.empty((1, len(graph.sizes))), np.empty((1, len(graph.numbers), 3))
        stresses = np.full((1, len(graph.sizes), 6), np.nan) if stress else None
        for k, (atoms, (start, end)) in enumerate(zip(structures_of(graph), pairwise(graph.starts), strict=True)):
            if hasattr(self.calculator, "reset"):
                self.calculator.reset()
            energies[0, k] = self.calculator.get_property("energy", atoms)
            forces[0, start:end] = self.calculator.get_property("forces", atoms)
            if stresses is not None and graph.pbc[k].any():
                try:
                    tensor = self.calculator.get_property("stress", atoms)
                except PropertyNotImplementedError:
                    continue
                # most calculators give six components, some (CHGNet's) the whole tensor
                stresses[0, k] = full_3x3_to_voigt_6_stress(tensor) if np.shape(tensor) == (3, 3) else tensor
        return energies, forces, stresses


class Shifted(Voter):
    """A voter whose energies are moved by Σ_Z n_Z shift_Z: forces and stresses stay as they are."""

    def __init__(self, voter: Voter, shifts: Mapping[int, float]) -> None:
        self.voter = voter
        self.shifts = dict(shifts)
        self.numbers, self.cutoff = voter.numbers, voter.cutoff

    @property
    def votes(self) -> int:
        """Those of the voter within."""
        return self.voter.votes

    @override
    def evaluate(
        self, graph: Graph, votes: Sequence[int], stress: bool
    ) -> tuple[FloatArray, FloatArray, FloatArray | None]:
        """The voter's own answer, its energies moved."""
        energies, forces, stresses = self.voter.evaluate(graph, votes, stress)
        own = np.array([self.shifts.get(int(z), 0.0) for z in graph.numbers])
        return energies + np.add.reduceat(own, graph.starts[:-1]), forces, stresses


def aligned(voter: Voter, frames: Sequence[Atoms], energies: ArrayLike) -> Shifted:
    """`voter` on the energy scale of a reference or a committee.

    The shift per species is the least-squares solution of Σ_Z n_Z shift_Z = E − E_voter: what differs in proportion to
    composition, as isolated atoms' energies do, no longer passes for uncertainty.

    Parameters
    ----------
    voter : Voter
        Of one vote or several.
    frames : sequence of ase.Atoms
        n structures.
    energies : (n,) array_like
        Their energies on the scale that is wanted, eV.

    Returns
    -------
    Shifted
        The voter, its energies moved, its forces and stresses as they are.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from ase.calculators.emt import EMT
    >>> from tentpole.committee import AseVoter, Committee, aligned
    >>> frames = [molecule("H2"), molecule("H2O"), molecule("CO")]
    >>> voter = AseVoter(EMT())
    >>> own = Committee([voter]).evaluate(frames).energies[0]
    >>> moved = aligned(voter, frames, own - 10.0 * np.array([2, 3, 2]))  # every atom 10 eV lower
    >>> {int(z): round(shift, 6) for z, shift in moved.shifts.items()}
    {1: -10.0, 6: -10.0, 8: -10.0}
    """
    predicted = Committee([voter]).evaluate(frames).energies.mean(axis=0)
    return Shifted(voter, composition_shifts(frames, np.asarray(energies, dtype=float) - predicted))


def composition_shifts(frames: Sequence[Atoms], residuals: ArrayLike) -> dict[int, float]:
    """Energy per species in eV, by atomic number.

    The least-squares solution of smallest norm of Σ_Z n_Z shift_Z = residual over the frames.
    """
    species = sorted({int(z) for atoms in frames for z in atoms.numbers})
    counts = np.array([[np.count_nonzero(atoms.numbers == z) for z in species] for atoms in frames])
    shifts, *_ = np.linalg.lstsq(counts.astype(float), np.asarray(residuals, dtype=float), rcond=None)
    return dict(zip(species, shifts.tolist(), strict=True))
