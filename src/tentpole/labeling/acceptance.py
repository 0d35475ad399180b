"""The sanity gate: what a structure must be to be worth a label, and a label to be worth training on."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list

from tentpole.errors import InputError, LabelError, unknown
from tentpole.records import FloatArray


@dataclass(frozen=True)
class Accept:
    """Limits of a good label, all optional; finite numbers of the right shape are always demanded.

    min_distance_ratio is relative to the sum of the two covalent radii. max_net_force is |Σ_i F_i|: an
    isolated or periodic system has none beyond what the program leaves unconverged.
    """

    max_force_eV_per_A: float | None = None
    max_net_force_eV_per_A: float | None = None
    max_stress_eV_per_A3: float | None = None
    min_distance_A: float | None = None
    min_distance_ratio: float | None = None
    min_energy_eV_per_atom: float | None = None
    max_energy_eV_per_atom: float | None = None

    @classmethod
    def read(cls, table: dict[str, Any], where: str) -> Accept:
        """From the TOML table. Raises InputError for unknown keys and for what is no number."""
        names = [f.name for f in fields(cls)]
        for key, value in table.items():
            if key not in names:
                raise unknown("key", key, names, where)
            if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
                raise InputError(f"{where}: {key} = {value!r} is not a number.")
        return cls(**{key: float(value) for key, value in table.items()})

    def structure(self, atoms: Atoms) -> None:
        """Before anything is spent. Raises LabelError for a structure that no label is worth."""
        if len(atoms) == 0:
            raise LabelError("bad_structure", "the structure has no atoms.")
        if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
            raise LabelError("bad_structure", "positions or cell are not finite.")
        if atoms.pbc.any() and not np.linalg.norm(atoms.cell.array[atoms.pbc], axis=1).all():
            raise LabelError("bad_structure", "a periodic direction has no cell vector.")
        self._distances(atoms)

    def _distances(self, atoms: Atoms) -> None:
        radii = covalent_radii[atoms.numbers]
        reach = max(self.min_distance_A or 0.0, 2 * radii.max() * (self.min_distance_ratio or 0.0))
        if not reach:
            return
        first, second, distance = neighbor_list("ijd", atoms, reach)
        shortest = np.full(len(distance), self.min_distance_A or 0.0)
        shortest = np.maximum(shortest, (radii[first] + radii[second]) * (self.min_distance_ratio or 0.0))
        close = np.flatnonzero(distance < shortest)
        if len(close):
            worst = close[np.argmin(distance[close] / shortest[close])]
            i, j = int(first[worst]), int(second[worst])
            raise LabelError(
                "too_close",
                f"atoms {i} ({atoms.symbols[i]}) and {j} ({atoms.symbols[j]}) are {distance[worst]:.3f} Å "
                f"apart; this reference accepts {shortest[worst]:.3f} Å or more.",
            )

    def label(self, energy: float, forces: FloatArray, stress: FloatArray | None, atoms: Atoms) -> None:
        """After the calculation. Raises LabelError, with the value and the limit, for a label outside."""
        if forces.shape != (len(atoms), 3) or (stress is not None and stress.shape != (6,)):
            shape = None if stress is None else stress.shape
            raise LabelError("bad_shape", f"forces {forces.shape}, stress {shape} for {len(atoms)} atoms.")
        numbers = [np.asarray(energy), forces, np.zeros(6) if stress is None else stress]
        if not all(np.isfinite(values).all() for values in numbers):
            raise LabelError("not_finite", "energy, forces or stress have NaN or infinity.")
        largest = float(np.linalg.norm(forces, axis=1).max())
        net = float(np.linalg.norm(forces.sum(axis=0)))
        per_atom = energy / len(atoms)
        _at_most("max_force", "the largest force is", largest, self.max_force_eV_per_A, "eV/Å")
        _at_most("net_force", "the forces add up to", net, self.max_net_force_eV_per_A, "eV/Å")
        if stress is not None:
            pressed = float(np.abs(stress).max())
            _at_most("max_stress", "the largest stress is", pressed, self.max_stress_eV_per_A3, "eV/Å³")
        _at_most("energy", "the energy is", per_atom, self.max_energy_eV_per_atom, "eV/atom")
        if self.min_energy_eV_per_atom is not None and per_atom < self.min_energy_eV_per_atom:
            limit = self.min_energy_eV_per_atom
            raise LabelError("energy", f"the energy is {per_atom:g} eV/atom; accepted from {limit:g}.")


def _at_most(reason: str, says: str, value: float, limit: float | None, unit: str) -> None:
    if limit is not None and value > limit:
        raise LabelError(reason, f"{says} {value:g} {unit}; accepted up to {limit:g} {unit}.")
