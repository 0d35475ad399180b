"""Whether energy, forces and stress of a method belong together, and whether it gives the same answer twice.

Central differences along one direction: for displacements d of the atoms, E(x + h d) − E(x − h d) = −2h F·d, and for a
strain ε of the cell, E(+ε) − E(−ε) = 2 V Σ σ_ij ε_ij. Tolerances are generous: they let pass what incomplete
convergence leaves, and stop forces of another sign, unit or origin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress

from tentpole.records import FloatArray, Label

STEP_A = 0.01
"""Largest displacement of an atom."""
STRAIN = 0.003
"""Largest component of the strain."""
DOUBT, WRONG = 0.1, 0.3
"""Relative deviations beyond which a method is doubted, and refused."""
NOISE_eV = 2e-4
"""What may be left of an energy difference by incomplete convergence."""
NOISE_eV_PER_A = 0.01
"""The same for a force."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One property that was tried. good: False where labels would be worthless; doubtful: one should look."""

    what: str
    good: bool
    words: str
    doubtful: bool = False


def findings(label: Label, again: Label | None, compute: Callable[[Atoms], Label | None]) -> Iterator[Finding]:
    """What is found about the method that gave `label`.

    Parameters
    ----------
    label
        Of a structure that is not at rest: its forces are what is tried.
    again
        A second label of the same structure, or None where that was not tried.
    compute
        Labels another structure with the same method; None where that fails.
    """
    if again is not None:
        yield _repeated(label, again)
    yield _difference("forces", *_displaced(label), compute)
    if label.stress is not None and label.atoms.pbc.all():
        yield _difference("stress", *_strained(label), compute)


def _repeated(label: Label, again: Label) -> Finding:
    energy = abs(again.energy - label.energy)
    force = float(np.abs(again.forces - label.forces).max())
    words = f"the same structure twice: energies differ by {energy:.2g} eV, forces by {force:.2g} eV/Å at most"
    scale = max(float(np.abs(label.forces).max()), 0.1)
    wrong = energy > 0.01 * len(label.atoms) or force > max(WRONG * scale, NOISE_eV_PER_A)
    doubtful = energy > 1e-4 * len(label.atoms) or force > NOISE_eV_PER_A
    return Finding("repeatability", not wrong, words, doubtful and not wrong)


def _displaced(label: Label) -> tuple[Atoms, Atoms, float]:
    """The structure on both sides along its forces, bent towards a direction drawn once; the energy expected."""
    drawn = np.random.default_rng(0).normal(size=label.forces.shape)
    direction = _unit(_unit(label.forces) + 0.5 * _unit(drawn))
    step = STEP_A * direction / np.abs(direction).max()
    sides = []
    for sign in (1, -1):
        atoms = label.atoms.copy()
        atoms.positions += sign * step
        sides.append(atoms)
    return sides[0], sides[1], -2 * float((label.forces * step).sum())


def _strained(label: Label) -> tuple[Atoms, Atoms, float]:
    """The structure strained both ways along its stress, bent as above; the energy expected."""
    stress = voigt_6_to_full_3x3_stress(label.stress)
    drawn = np.random.default_rng(1).normal(size=(3, 3))
    direction = _unit(_unit(stress) + 0.5 * _unit(drawn + drawn.T))
    strain = STRAIN * direction / np.abs(direction).max()
    sides = []
    for sign in (1, -1):
        atoms = label.atoms.copy()
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + sign * strain), scale_atoms=True)
        sides.append(atoms)
    return sides[0], sides[1], 2 * label.atoms.get_volume() * float((stress * strain).sum())


def _unit(values: FloatArray) -> FloatArray:
    norm = float(np.linalg.norm(values))
    return values / norm if norm > 0 else values


def _difference(
    what: str, plus: Atoms, minus: Atoms, expected: float, compute: Callable[[Atoms], Label | None]
) -> Finding:
    labels = [compute(atoms) for atoms in (plus, minus)]
    if labels[0] is None or labels[1] is None:
        return Finding(what, True, "not tried: a structure displaced by 0.01 Å has no label", doubtful=True)
    difference = labels[0].energy - labels[1].energy
    off = max(0.0, abs(difference - expected) - NOISE_eV) / max(abs(expected), abs(difference), NOISE_eV)
    words = f"the energy changes by {difference:.4g} eV where they say {expected:.4g} eV"
    if off > DOUBT:
        words += f": energy and {what} do not belong together (units, sign, another state?)"
    wrong = off > WRONG and what == "forces"
    return Finding(what, not wrong, words.replace("they say", "it says") if what == "stress" else words, off > DOUBT)
