"""How far a committee's members disagree: energies, force vectors, stresses.

For member forces F[M, N, 3] and energies E[M], with the mean over members written with a bar:

    energy_std(E)     = sqrt( mean_m (E_m - Ē)² )                    eV
    atom_force_std(F) = sqrt( mean_m |F_m - F̄|² ), one per atom      eV/Å  (of the vector, not of x, y, z)
    force_std(F)      = mean over atoms of atom_force_std(F)
    max_force_std(F)  = maximum over atoms of atom_force_std(F)
    p95_force_std(F)  = 95th percentile over atoms of atom_force_std(F), linear between order statistics

The variance is the population's (ddof = 0) unless `ddof` says otherwise. The first axis counts the members
everywhere; axes between it and the atoms are batch axes: E (M, n) gives (n,), F (M, n, N, 3) gives (n, N).

Nothing here turns a broken prediction into a small number: NaN or infinity in any member raises NonFinite.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tentpole.errors import TentpoleError

FloatArray = NDArray[np.float64]


class NonFinite(TentpoleError, ValueError):
    """A member predicted NaN or infinity: the snapshot has failed, whatever the other members say."""


def energy_std(energies: ArrayLike, *, ddof: int = 0) -> FloatArray:
    """Standard deviation of the members' energies.

    Parameters
    ----------
    energies : (M, ...) array_like
        Member energies, eV.
    ddof : int
        0 for the population's variance.

    Returns
    -------
    (...) array
        eV.

    Raises
    ------
    NonFinite
        Where an energy is not finite.
    ValueError
        For fewer than ddof + 1 or fewer than two members.

    Examples
    --------
    >>> from tentpole.committee import energy_std
    >>> float(energy_std([-10.0, -10.2]))  # doctest: +ELLIPSIS
    0.099999...
    """
    values = _members(energies, "energies", ndim=1, ddof=ddof)
    return _plain(np.sqrt(_variance(values, ddof)))


def energy_std_per_atom(energies: ArrayLike, atoms: ArrayLike, *, ddof: int = 0) -> FloatArray:
    """Standard deviation of the members' energies over the number of atoms.

    Parameters
    ----------
    energies : (M, ...) array_like
        Member energies, eV.
    atoms : int or (...) array_like
        How many atoms each structure has.
    ddof : int
        0 for the population's variance.

    Returns
    -------
    (...) array
        eV/atom.

    Raises
    ------
    NonFinite
        Where an energy is not finite.
    ValueError
        For too few members.

    Examples
    --------
    >>> from tentpole.committee import energy_std_per_atom
    >>> float(energy_std_per_atom([-10.0, -14.0], atoms=4))
    0.5
    """
    return _plain(energy_std(energies, ddof=ddof) / np.asarray(atoms, dtype=np.float64))


def atom_force_std(forces: ArrayLike, *, ddof: int = 0) -> FloatArray:
    """Spread of every atom's force vector.

    Parameters
    ----------
    forces : (M, ..., N, 3) array_like
        Member forces, eV/Å.
    ddof : int
        0 for the population's variance.

    Returns
    -------
    (..., N) array
        eV/Å.

    Raises
    ------
    NonFinite
        Where a component is not finite.
    ValueError
        For other shapes, or too few members.

    Examples
    --------
    >>> from tentpole.committee import atom_force_std
    >>> forces = [[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]]  # two members, two atoms
    >>> atom_force_std(forces).tolist()
    [0.0, 0.5]
    """
    values = _members(forces, "forces", ndim=3, ddof=ddof)
    if values.shape[-1] != 3:
        raise ValueError(f"forces must have shape (members, atoms, 3), got {values.shape}")
    return _plain(np.sqrt(_variance(values, ddof).sum(axis=-1)))


def force_std(forces: ArrayLike, *, ddof: int = 0) -> FloatArray:
    """Mean over atoms of `atom_force_std`.

    Parameters
    ----------
    forces : (M, ..., N, 3) array_like
        Member forces, eV/Å.
    ddof : int
        0 for the population's variance.

    Returns
    -------
    (...) array
        eV/Å.

    Raises
    ------
    NonFinite
        Where a component is not finite.
    ValueError
        For other shapes, or too few members.

    Examples
    --------
    >>> from tentpole.committee import force_std
    >>> forces = [[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]]  # two members, two atoms
    >>> float(force_std(forces))
    0.25
    """
    return _plain(atom_force_std(forces, ddof=ddof).mean(axis=-1))


def max_force_std(forces: ArrayLike, *, ddof: int = 0) -> FloatArray:
    """Maximum over atoms of `atom_force_std`.

    Parameters
    ----------
    forces : (M, ..., N, 3) array_like
        Member forces, eV/Å.
    ddof : int
        0 for the population's variance.

    Returns
    -------
    (...) array
        eV/Å.

    Raises
    ------
    NonFinite
        Where a component is not finite.
    ValueError
        For other shapes, or too few members.

    Examples
    --------
    >>> from tentpole.committee import max_force_std
    >>> forces = [[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]]  # two members, two atoms
    >>> float(max_force_std(forces))
    0.5
    """
    return _plain(atom_force_std(forces, ddof=ddof).max(axis=-1))


def p95_force_std(forces: ArrayLike, *, ddof: int = 0) -> FloatArray:
    """95th percentile over atoms of `atom_force_std`.

    Unlike the mean it rises where a twentieth of the atoms are uncertain, however large the cell is.

    Parameters
    ----------
    forces : (M, ..., N, 3) array_like
        Member forces, eV/Å.
    ddof : int
        0 for the population's variance.

    Returns
    -------
    (...) array
        eV/Å.

    Raises
    ------
    NonFinite
        Where a component is not finite.
    ValueError
        For other shapes, or too few members.

    Examples
    --------
    >>> from tentpole.committee import p95_force_std
    >>> forces = [[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]], [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]]  # two members, two atoms
    >>> float(p95_force_std(forces))
    0.475
    """
    return _plain(p95_over_atoms(atom_force_std(forces, ddof=ddof)))


def p95_over_atoms(atom_std: ArrayLike) -> FloatArray:
    """95th percentile of per-atom σ: (..., N) in eV/Å to (...). Raises NonFinite."""
    values = np.asarray(atom_std, dtype=np.float64)
    if not np.isfinite(values).all():
        raise NonFinite("σ of an atom is not finite: this structure has failed")
    return _plain(np.percentile(values, 95.0, axis=-1))


def relative_force_std(forces: ArrayLike, *, floor_eV_per_A: float = 0.2, ddof: int = 0) -> FloatArray:
    """Maximum over atoms of atom_force_std / (|F̄| + floor).

    Large forces are allowed a larger spread; the floor keeps atoms at rest from dominating.

    Parameters
    ----------
    forces : (M, ..., N, 3) array_like
        Member forces, eV/Å.
    floor_eV_per_A : float
        Added to the size of each mean force.
    ddof : int
        0 for the population's variance.

    Returns
    -------
    (...) array
        Dimensionless.

    Raises
    ------
    NonFinite
        Where a component is not finite.
    ValueError
        For other shapes, or too few members.
    """
    spread = atom_force_std(forces, ddof=ddof)
    size = np.linalg.norm(np.asarray(forces, dtype=np.float64).mean(axis=0), axis=-1)
    return _plain((spread / (size + floor_eV_per_A)).max(axis=-1))


def stress_std(stresses: ArrayLike, *, ddof: int = 0) -> FloatArray:
    """Standard deviation of every component of the members' stresses.

    Parameters
    ----------
    stresses : (M, ..., 6) array_like
        Member stresses, eV/Å³.
    ddof : int
        0 for the population's variance.

    Returns
    -------
    (..., 6) array
        eV/Å³.

    Raises
    ------
    NonFinite
        Where a component is not finite.
    ValueError
        For too few members.
    """
    values = _members(stresses, "stresses", ndim=2, ddof=ddof)
    return _plain(np.sqrt(_variance(values, ddof)))


def _members(values: ArrayLike, what: str, ndim: int, ddof: int) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim < ndim:
        raise ValueError(f"{what} must have at least {ndim} axes, members first; got shape {array.shape}")
    members = array.shape[0]
    if members < 2 or members <= ddof:
        raise ValueError(
            f"{members} member(s) cannot disagree (ddof = {ddof}): a committee needs at least {max(2, ddof + 1)}"
        )
    broken = ~np.isfinite(array).reshape(members, -1).all(axis=1)
    if broken.any():
        names = ", ".join(str(m) for m in np.flatnonzero(broken))
        raise NonFinite(f"{what} of member {names} are not finite: this structure has failed")
    return array


def _variance(values: FloatArray, ddof: int) -> FloatArray:
    spread = values - values.mean(axis=0)
    return np.asarray((spread**2).sum(axis=0) / (len(values) - ddof))


def _plain(values: ArrayLike) -> FloatArray:
    """A number where no axis is left, else the array."""
    result: FloatArray = np.asarray(values, dtype=np.float64)[()]
    return result
