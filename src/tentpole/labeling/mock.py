"""An analytic potential for any elements: fast and smooth, for tests, demonstrations and fault injection."""

from __future__ import annotations

import hashlib
import time
from typing import Any, ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list
from ase.stress import full_3x3_to_voigt_6_stress
from typing_extensions import override

from tentpole.errors import LabelError
from tentpole.labeling.codes.base import AnyCalculator


class Mock(Calculator):  # type: ignore[misc]
    """Morse pairs between covalent radii, cut off smoothly.

    E = Σ_{i<j} D [(1 − e^{−a(r−r₀)})² − 1] (1 − r²/r_c²)³ for r < r_c, with r₀ the sum of the covalent radii.
    The third power makes energy, force and force constant vanish at r_c. At r → 0 all stays finite.

    depth_eV → D, steepness_per_A → a, cutoff_A → r_c. `seconds` is slept per label, to stand in for a code
    that takes its time; `unconverged_fraction` of all structures, chosen by a hash of their positions, fail
    as an SCF that does not converge. Neither changes a label.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "forces", "stress"]
    default_parameters: ClassVar[dict[str, Any]] = {
        "depth_eV": 1.0,
        "steepness_per_A": 1.5,
        "cutoff_A": 5.0,
        "seconds": 0.0,
        "unconverged_fraction": 0.0,
    }

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Raises LabelError("unconverged") for the structures that `unconverged_fraction` picks."""
        super().calculate(atoms, properties, system_changes)
        if self.parameters["seconds"] > 0:
            time.sleep(self.parameters["seconds"])
        digest = hashlib.sha256(np.ascontiguousarray(self.atoms.positions, dtype="<f8").tobytes()).digest()
        if int.from_bytes(digest[:8], "little") / 2**64 < self.parameters["unconverged_fraction"]:
            raise LabelError("unconverged", "the mock was told not to converge for this structure.")
        self.results.update(
            morse(
                self.atoms,
                self.parameters["depth_eV"],
                self.parameters["steepness_per_A"],
                self.parameters["cutoff_A"],
            )
        )


def morse(atoms: Atoms, depth_eV: float, steepness_per_A: float, cutoff_A: float) -> dict[str, Any]:
    """Energy in eV, forces (N, 3) in eV/Å and, in a full cell, stress (6,) in eV/Å³ of the above."""
    first, second, r, vector = neighbor_list("ijdD", atoms, cutoff_A)  # each pair twice
    at_rest = covalent_radii[atoms.numbers[first]] + covalent_radii[atoms.numbers[second]]
    wall = np.exp(-steepness_per_A * (r - at_rest))
    well = depth_eV * (wall * wall - 2 * wall)
    slope = depth_eV * 2 * steepness_per_A * (wall - wall * wall)
    inside = 1 - (r / cutoff_A) ** 2
    energy = 0.5 * float(np.sum(well * inside**3))
    gradient = slope * inside**3 - well * 6 * r / cutoff_A**2 * inside**2  # dE/dr of a pair
    pull = (gradient / np.where(r > 0, r, 1.0))[:, None] * vector
    forces = np.zeros((len(atoms), 3))
    np.add.at(forces, first, pull)
    results: dict[str, Any] = {"energy": energy, "free_energy": energy, "forces": forces}
    if atoms.cell.rank == 3 and atoms.pbc.all():
        virial = 0.5 * np.einsum("pi,pj->ij", pull, vector)
        results["stress"] = full_3x3_to_voigt_6_stress(virial / atoms.get_volume())
    return results


class _MockCode(AnyCalculator):
    @override
    def version(self, calculator: str) -> str:
        return "1"  # of the formula above: raise it where the formula changes


MOCK = _MockCode(algorithmic=frozenset({"seconds", "unconverged_fraction"}), stateless=True, spin="none")
