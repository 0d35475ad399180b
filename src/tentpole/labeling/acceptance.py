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
    isolated or periodic system has none beyond what the program leaves unconverged. The two bands [lo, hi] are of
    the final |Σ m| and Σ |m| per atom, in µB: an SCF that fell onto another magnetic branch is outside, and its energy
    would be noise to a model. Antiferromagnets, whose total is zero on every branch, need the second one.
    """

    max_force_eV_per_A: float | None = None
    max_net_force_eV_per_A: float | None = None
    max_stress_eV_per_A3: float | None = None
    min_distance_A: float | None = None
    min_distance_ratio: float | None = None
    min_energy_eV_per_atom: float | None = None
    max_energy_eV_per_atom: float | None = None
    magnetization: tuple[float, float] | None = None
    absolute_magnetization: tuple[float, float] | None = None

    @classmethod
    def read(cls, table: dict[str, Any], where: str) -> Accept:
        """From the TOML table. Raises InputError for unknown keys and for what is no number, or no band."""
        names = [f.name for f in fields(cls)]
        limits: dict[str, Any] = {}
        for key, value in table.items():
            if key not in names:
                raise unknown("key", key, names, where)
            if key in _BANDS:
                limits[key] = _band(value, f"{where}: {key}")
            elif not _is_number(value):
                raise InputError(f"{where}: {key} = {value!r} is not a number.")
            else:
                limits[key] = float(value)
        return cls(**limits)

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

    def magnetism(self, final: dict[str, Any], atoms: int) -> None:
        """After the calculation, of its final moments (µB).

        Raises LabelError for a label outside a band, or with a band and no moment to hold against it; TypeError for a
        moment that is no number.
        """
        for key, (quantity, says) in _BANDS.items():
            band, value = getattr(self, key), final.get(quantity)
            if band is None:
                continue
            if value is None:
                raise LabelError(
                    "magnetization", f"[accept] {key} is stated, but the program gave no {says} magnetisation."
                )
            if not isinstance(value, int | float) or isinstance(value, bool):
                raise TypeError(f"{quantity} = {value!r}")
            if not np.isfinite(value):
                raise LabelError("magnetization", f"the {says} magnetisation is {value}, not a finite number.")
            per_atom = abs(value) / atoms
            if not band[0] <= per_atom <= band[1]:
                raise LabelError(
                    "magnetization",
                    f"the {says} magnetisation is {per_atom:g} µB/atom; accepted from {band[0]:g} to {band[1]:g}: "
                    "the SCF ended on another magnetic branch.",
                )


_BANDS = {"magnetization": ("total_muB", "total"), "absolute_magnetization": ("absolute_muB", "absolute")}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def _band(value: Any, what: str) -> tuple[float, float]:
    if not (isinstance(value, list) and len(value) == 2 and all(map(_is_number, value)) and 0 <= value[0] <= value[1]):
        raise InputError(f"{what} = {value!r} is no band: [lowest, highest] in µB per atom, as in [1.8, 2.8].")
    return float(value[0]), float(value[1])


def _at_most(reason: str, says: str, value: float, limit: float | None, unit: str) -> None:
    if limit is not None and value > limit:
        raise LabelError(reason, f"{says} {value:g} {unit}; accepted up to {limit:g} {unit}.")
