"""Is this frame still physics? Each answer 'no' has a reason code and says its numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from tentpole.records import FloatArray
from tentpole.units import KB


@dataclass(frozen=True, slots=True)
class HealthLimits:
    """Bounds outside which a walker is sent back.

    min_distance : nearest distance as a share of the sum of covalent radii.
    max_force_eV_per_A : largest force on any atom.
    max_temperature_ratio : kinetic over target temperature; statistical room for few atoms is added,
        6 standard deviations of the canonical distribution, sqrt(2 / 3N) each.
    min_volume_ratio, max_volume_ratio : cell volume over that of the starting structure.
    max_energy_rise_eV_per_atom : potential energy above the starting structure's.
    max_gap_A : widest gap that separates two parts of a non-periodic structure; None: not checked.
    """

    min_distance: float = 0.5
    max_force_eV_per_A: float = 50.0
    max_temperature_ratio: float = 3.0
    min_volume_ratio: float = 0.5
    max_volume_ratio: float = 2.0
    max_energy_rise_eV_per_atom: float = 2.0
    max_gap_A: float | None = None


@dataclass(frozen=True, slots=True)
class Unhealthy:
    """Why a frame was refused: a reason code for counting, a message with the numbers for reading."""

    reason: str
    message: str


def check(
    atoms: Atoms,
    energy: float,
    forces: FloatArray,
    limits: HealthLimits,
    *,
    temperature_K: float | None = None,
    start_energy: float | None = None,
    start_volume: float | None = None,
) -> Unhealthy | None:
    """None for a healthy frame, otherwise the first thing wrong with it.

    atoms : the frame, with momenta where `temperature_K` (the target) is given.
    energy, forces : of the potential that is judged, in eV and (N, 3) eV/Å.
    start_energy, start_volume : of the starting structure, in eV and Å³; None: not checked.
    """
    finite = np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()
    if not (finite and np.isfinite(energy) and np.isfinite(forces).all()):
        return Unhealthy("non-finite", "positions, cell, energy or forces are not finite")
    force = float(np.sqrt((np.asarray(forces) ** 2).sum(axis=1).max()))
    if force > limits.max_force_eV_per_A:
        return Unhealthy("force", f"largest force {force:.1f} eV/Å > {limits.max_force_eV_per_A:g}")
    if start_energy is not None:
        rise = (energy - start_energy) / len(atoms)
        if rise > limits.max_energy_rise_eV_per_atom:
            return Unhealthy("energy", f"{rise:.2f} eV/atom above the start > {limits.max_energy_rise_eV_per_atom:g}")
    hot = _too_hot(atoms, temperature_K, limits)
    if hot is not None:
        return hot
    if start_volume is not None and atoms.pbc.all():
        ratio = atoms.get_volume() / start_volume
        if not limits.min_volume_ratio <= ratio <= limits.max_volume_ratio:
            return Unhealthy("volume", f"cell volume {ratio:.2f} times that of the start")
    return geometry(atoms, limits)


def geometry(atoms: Atoms, limits: HealthLimits) -> Unhealthy | None:
    """The part of `check` that needs positions alone: contacts that are too close, parts too far away."""
    if len(atoms) < 2 and not atoms.pbc.any():
        return None
    from ase.geometry import get_distances
    from ase.neighborlist import neighbor_list

    radii = covalent_radii[atoms.numbers]
    reach = 2 * limits.min_distance * float(radii.max())
    first, second, distance = neighbor_list("ijd", atoms, reach)
    if len(distance):
        share = distance / (radii[first] + radii[second])
        worst = int(np.argmin(share))
        if share[worst] < limits.min_distance:
            symbols = atoms.get_chemical_symbols()
            i, j = int(first[worst]), int(second[worst])
            return Unhealthy(
                "close contact",
                f"{symbols[i]}{i}-{symbols[j]}{j} at {distance[worst]:.2f} Å, "
                f"{share[worst]:.2f} of the covalent radii's sum < {limits.min_distance:g}",
            )
    if limits.max_gap_A is not None and len(atoms) > 1 and not atoms.pbc.any():
        from scipy.sparse.csgraph import minimum_spanning_tree

        gap = float(minimum_spanning_tree(get_distances(atoms.positions)[1]).toarray().max())
        if gap > limits.max_gap_A:
            return Unhealthy("fell apart", f"a gap of {gap:.2f} Å > {limits.max_gap_A:g}")
    return None


def _too_hot(atoms: Atoms, temperature_K: float | None, limits: HealthLimits) -> Unhealthy | None:
    if temperature_K is None or not atoms.has("momenta"):
        return None
    kinetic = 2 * float(atoms.get_kinetic_energy()) / (3 * len(atoms) * KB)
    bound = temperature_K * (limits.max_temperature_ratio + 6 * np.sqrt(2 / (3 * len(atoms))))
    if not kinetic <= bound:
        return Unhealthy("temperature", f"{kinetic:.0f} K at a target of {temperature_K:g} K")
    return None
