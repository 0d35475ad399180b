"""Is this frame still physics? Each answer 'no' has a reason code and says its numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from tentpole.committee.neighbourhood import UnusableGeometry, check_extent, check_neighbourhood
from tentpole.exploration.held import moving
from tentpole.records import FloatArray
from tentpole.units import KB

FELL_APART = "fell apart"
"""Reason code: parts of a structure are farther from each other than `max_gap_A`."""

_USUAL_CUTOFF_A = 5.0
"""Potentials see about as far: a cell that is too crowded for them is refused."""


@dataclass(frozen=True, slots=True)
class HealthLimits:
    """Bounds outside which a walker is sent back.

    min_distance : nearest distance, an atom's own images included, as a share of the sum of covalent radii.
    max_force_eV_per_A : largest force on any atom that is not held in place.
    max_temperature_ratio : kinetic over target temperature; statistical room for few atoms is added,
        6 standard deviations of the canonical distribution, sqrt(2 / 3N) each.
    min_volume_ratio, max_volume_ratio : cell volume over that of the starting structure.
    min_height_ratio : the cell's shortest height over that of the starting structure: a cell that shears flat keeps
        its volume.
    max_angle_change_deg : largest change of an angle between two vectors of the cell against the starting structure.
    max_energy_rise_eV_per_atom : potential energy above the starting structure's.
    max_gap_A : widest gap that separates two parts of a non-periodic structure; None: not checked.
    """

    min_distance: float = 0.5
    max_force_eV_per_A: float = 50.0
    max_temperature_ratio: float = 3.0
    min_volume_ratio: float = 0.5
    max_volume_ratio: float = 2.0
    min_height_ratio: float = 0.5
    max_angle_change_deg: float = 45.0
    max_energy_rise_eV_per_atom: float = 2.0
    max_gap_A: float | None = None


@dataclass(frozen=True, slots=True)
class Unhealthy:
    """Why a frame was refused.

    Parameters
    ----------
    reason : str
        A short code, for counting.
    message : str
        The numbers, in words.
    """

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
    start_height: float | None = None,
    start_angles: FloatArray | None = None,
) -> Unhealthy | None:
    """Look for the first thing wrong with a frame.

    Parameters
    ----------
    atoms : ase.Atoms
        The frame, with momenta where `temperature_K` is given.
    energy : float
        Of the potential that is judged, eV.
    forces : (N, 3) array
        Of that potential, eV/Å.
    limits : HealthLimits
    temperature_K : float, optional
        The target, K; None: not checked, as for those that follow.
    start_energy : float, optional
        Of the starting structure, eV.
    start_volume : float, optional
        Of the starting structure's cell, Å³.
    start_height : float, optional
        Shortest height of the starting structure's cell, Å.
    start_angles : (3,) array, optional
        Angles of the starting structure's cell, degrees.

    Returns
    -------
    Unhealthy or None
        None for a healthy frame.
    """
    finite = np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()
    if not (finite and np.isfinite(energy) and np.isfinite(forces).all()):
        return Unhealthy("non-finite", "positions, cell, energy or forces are not finite")
    squares = (np.asarray(forces) ** 2).sum(axis=1)[moving(atoms)]
    force = float(np.sqrt(squares.max(initial=0.0)))
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
    if start_height is not None and atoms.pbc.all():
        ratio = shortest_height(atoms) / start_height
        if not ratio >= limits.min_height_ratio:
            return Unhealthy("flat cell", f"shortest height of the cell {ratio:.2f} times that of the start")
    if start_angles is not None and atoms.pbc.all():
        change = float(np.abs(atoms.cell.angles() - start_angles).max())
        if not change <= limits.max_angle_change_deg:
            return Unhealthy("skewed cell", f"an angle of the cell {change:.0f}° off that of the start")
    return geometry(atoms, limits)


def shortest_height(atoms: Atoms) -> float:
    """The shortest distance between opposite faces of the cell, Å."""
    cell = atoms.cell.array
    areas = np.linalg.norm(np.cross(cell[[1, 2, 0]], cell[[2, 0, 1]]), axis=1)
    return float(abs(np.linalg.det(cell)) / areas.max())


def geometry(atoms: Atoms, limits: HealthLimits) -> Unhealthy | None:
    """The part of `check` that needs positions alone: contacts that are too close, parts too far away."""
    if len(atoms) < 2 and not atoms.pbc.any():
        return None
    try:
        check_extent(atoms.positions, atoms.cell.array, atoms.pbc)
        if atoms.pbc.all():
            check_neighbourhood(atoms.positions, atoms.cell.array, atoms.pbc, _USUAL_CUTOFF_A)
    except UnusableGeometry as error:
        return Unhealthy("geometry", str(error))
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
            return Unhealthy(FELL_APART, f"a gap of {gap:.2f} Å > {limits.max_gap_A:g}")
    return None


def _too_hot(atoms: Atoms, temperature_K: float | None, limits: HealthLimits) -> Unhealthy | None:
    if temperature_K is None or not atoms.has("momenta"):
        return None
    count = max(1, int(moving(atoms).sum()))
    kinetic = 2 * float(atoms.get_kinetic_energy()) / (3 * count * KB)
    bound = temperature_K * (limits.max_temperature_ratio + 6 * np.sqrt(2 / (3 * count)))
    if not kinetic <= bound:
        return Unhealthy("temperature", f"{kinetic:.0f} K at a target of {temperature_K:g} K")
    return None
