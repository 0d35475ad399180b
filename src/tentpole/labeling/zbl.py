"""Screened repulsion of nuclei: what keeps atoms apart where no label ever was."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.data import covalent_radii
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import NDArray
from typing_extensions import override

from tentpole.committee.graph import edges_within
from tentpole.labeling.codes.base import AnyCalculator

FloatArray = NDArray[np.float64]

COULOMB_eV_A = 14.399645
"""e²/(4πε₀)."""
SCREENING_A = 0.8854 * 0.529177
SHARES = np.array([0.1818, 0.5099, 0.2802, 0.02817])
RATES = np.array([3.2, 0.9423, 0.4029, 0.2016])


class ZBL(Calculator):  # type: ignore[misc]
    """Ziegler-Biersack-Littmark repulsion between nuclei, switched off at bond lengths.

    E = Σ_{i<j} k Z_i Z_j/r φ(r/a) f(r/r_c), φ(x) = Σ_n c_n e^{−d_n x}, a = 0.8854 a₀/(Z_i^0.23 + Z_j^0.23), with k =
    14.399645 eV Å (J. F. Ziegler, J. P. Biersack, U. Littmark, The Stopping and Range of Ions in Solids, 1985), and

        f(x) = 1 − (p+1)(p+2)/2 x^p + p(p+2) x^{p+1} − p(p+1)/2 x^{p+2}    for x < 1, else 0,

    which leaves energy, force and force constant continuous at r_c = `reach` × the sum of the covalent radii.

    Parameters
    ----------
    reach : float
        1: nothing is added beyond a bond's usual length.
    p : int
        Of f; the higher, the later it falls.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]
    default_parameters: ClassVar[dict[str, Any]] = {"reach": 1.0, "p": 6}

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """All properties at once."""
        super().calculate(atoms, properties, system_changes)
        self.results.update(repulsion(self.atoms, float(self.parameters["reach"]), int(self.parameters["p"])))


def repulsion(atoms: Atoms, reach: float = 1.0, p: int = 6) -> dict[str, Any]:
    """Energy in eV, forces (N, 3) in eV/Å and, in a periodic cell, stress (6,) in eV/Å³ of ZBL."""
    radii = covalent_radii[atoms.numbers]
    edges = edges_within(atoms, max(1e-3, 2 * reach * float(radii.max(initial=0.0))))
    vectors = atoms.positions[edges.j] - atoms.positions[edges.i] + edges.shifts @ atoms.cell.complete().array
    r = np.linalg.norm(vectors, axis=1)
    limit = reach * (radii[edges.i] + radii[edges.j])
    near = r < limit
    i, j, vectors, r, limit = edges.i[near], edges.j[near], vectors[near], np.maximum(r[near], 1e-9), limit[near]
    value, slope = pair_energy(atoms.numbers[i], atoms.numbers[j], r, limit, p)
    pull = (slope / r)[:, None] * vectors  # dE/dr of a pair, on its first atom; each pair stands here twice
    forces = np.zeros((len(atoms), 3))
    np.add.at(forces, i, pull)
    energy = 0.5 * float(value.sum())
    results: dict[str, Any] = {"energy": energy, "free_energy": energy, "forces": forces}
    if atoms.pbc.any() and atoms.cell.rank == 3:
        virial = 0.5 * np.einsum("pi,pj->ij", pull, vectors)
        results["stress"] = full_3x3_to_voigt_6_stress(virial / atoms.get_volume())
    return results


def pair_energy(first: Any, second: Any, r: FloatArray, limit: FloatArray, p: int) -> tuple[FloatArray, FloatArray]:
    """Energies in eV of pairs r Å apart, and dE/dr in eV/Å, switched off at `limit` Å; (n,) each."""
    screening = SCREENING_A / (np.asarray(first) ** 0.23 + np.asarray(second) ** 0.23)
    waves = SHARES * np.exp(-RATES * (r / screening)[:, None])
    phi, phi_slope = waves.sum(1), -(waves * RATES).sum(1) / screening
    bare = COULOMB_eV_A * first * second / r
    value, slope = bare * phi, bare * (phi_slope - phi / r)
    x = r / limit
    envelope = 1 - (p + 1) * (p + 2) / 2 * x**p + p * (p + 2) * x ** (p + 1) - p * (p + 1) / 2 * x ** (p + 2)
    falling = -p * (p + 1) * (p + 2) / 2 * x ** (p - 1) * (1 - x) ** 2 / limit
    return value * envelope, slope * envelope + value * falling


class _ZBLCode(AnyCalculator):
    @override
    def version(self, calculator: str) -> str:
        return "1"  # of the formula above: raise it where the formula changes


ZBL_CODE = _ZBLCode(stateless=True, spin="none")
