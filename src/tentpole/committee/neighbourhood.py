"""Is a neighbour list of this structure worth building? Asked before each, in microseconds.

A step of MD that has gone wrong leaves positions that are not finite, atoms very far apart, or a collapsed cell. A
search for neighbours then takes minutes and gigabytes for a structure that means nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tentpole.errors import InputError

FloatArray = NDArray[np.float64]

MAX_EXTENT_A = 1e5
"""Å between two atoms, or along a periodic cell vector."""
MAX_NEIGHBOURS = 2_000
"""Neighbours per atom, estimated: diamond has 740 within 10 Å."""
MAX_EDGES = 1e8
"""Neighbours of all atoms together, estimated: about 4 GB."""
MAX_BINS = 1e8
"""Boxes of the cutoff's size that the structure is sorted into: about 0.4 GB."""


class UnusableGeometry(InputError):
    """Positions or a cell that no potential can be evaluated on: MD has blown up, or a file is damaged."""


def check_neighbourhood(positions: FloatArray, cell: FloatArray, pbc: NDArray[np.bool_], cutoff: float) -> None:
    """Check positions and cell before a neighbour list is built.

    Parameters
    ----------
    positions : (N, 3) array
        Å.
    cell : (3, 3) array
        The box that is searched, Å: along open directions one that holds all atoms.
    pbc : (3,) bool array
        Along which of its vectors it is periodic.
    cutoff : float
        Å.

    Raises
    ------
    UnusableGeometry
        With the numbers, where something is not finite, atoms are absurdly far apart, or the list would hold more
        neighbours than memory.

    Examples
    --------
    >>> import numpy as np
    >>> from tentpole.committee.neighbourhood import check_neighbourhood
    >>> check_neighbourhood(np.zeros((1, 3)), np.eye(3) * 0.05, np.array([True] * 3), 5.0)
    Traceback (most recent call last):
    tentpole.committee.neighbourhood.UnusableGeometry: about 4188790 neighbours per atom within 5 Å ...
    """
    check_extent(positions, cell, pbc)
    volume = abs(float(np.linalg.det(cell)))
    if not volume > 0.0:
        return  # whoever builds the list says what is wrong with a flat cell
    if volume / cutoff**3 > MAX_BINS:
        raise UnusableGeometry(
            f"the box around {len(positions)} atoms has {volume:.3g} Å³, {volume / cutoff**3:.2g} times the cutoff of "
            f"{cutoff:g} Å cubed, and {MAX_BINS:.0e} is the limit: atoms lie too far apart, or the cell is too large."
        )
    _check_crowding(len(positions), cell, pbc, cutoff, volume)


def box_around(
    positions: FloatArray, cell: FloatArray, pbc: NDArray[np.bool_], cutoff: float
) -> tuple[FloatArray, FloatArray]:
    """A cell of finite volume that holds every atom along the open directions, and its origin.

    Open directions take unit vectors normal to the periodic ones, as long as the structure and the cutoff: what stands
    in the cell there (often nothing) is no part of the physics, and the search wants bins that fit. Searches take
    positions less the origin: matscipy before 1.3 gives atoms outside the box shifts along directions that have none.

    Parameters
    ----------
    positions : (N, 3) array
        Å.
    cell : (3, 3) array
        Å.
    pbc : (3,) bool array
        Along which of its vectors it is periodic.
    cutoff : float
        Å, more than 0.

    Returns
    -------
    box : (3, 3) array
        Å.
    origin : (3,) array
        Å.
    """
    if pbc.all():
        return cell, np.zeros(3)
    periodic = cell[pbc]
    normals = np.linalg.svd(periodic)[2][len(periodic) :] if len(periodic) else np.eye(3)
    along = positions @ normals.T
    low = along.min(axis=0) - 0.5 * cutoff
    box = cell.copy()
    box[~pbc] = (along.max(axis=0) + 0.5 * cutoff - low)[:, None] * normals
    return box, low @ normals


def check_extent(positions: FloatArray, cell: FloatArray, pbc: NDArray[np.bool_]) -> None:
    """Raise UnusableGeometry where something is not finite, or longer than MAX_EXTENT_A."""
    check_finite(positions, cell)
    extent = np.ptp(positions, axis=0)
    if not extent.max() <= MAX_EXTENT_A:
        raise UnusableGeometry(
            f"atoms lie {extent.max():.3g} Å apart, more than {MAX_EXTENT_A:g} Å: MD has blown up, or the positions "
            "are not in Å."
        )
    lengths = np.linalg.norm(cell, axis=1)
    if pbc.any() and not lengths[pbc].max() <= MAX_EXTENT_A:
        raise UnusableGeometry(
            f"a cell vector is {lengths[pbc].max():.3g} Å long, more than {MAX_EXTENT_A:g} Å: the cell has blown up, "
            "or is not in Å."
        )
    periodic = cell[pbc]
    if not np.linalg.det(periodic @ periodic.T) > 1e-12 * np.prod(lengths[pbc]) ** 2:
        raise UnusableGeometry(f"the cell {cell.tolist()} (Å) is flat: its periodic vectors span no volume.")


def check_finite(positions: FloatArray, cell: FloatArray) -> None:
    """Raise UnusableGeometry, naming the atoms, where a position or the cell is not finite."""
    if np.isfinite(positions).all() and np.isfinite(cell).all():
        return
    bad = np.flatnonzero(~np.isfinite(positions).all(axis=1))
    where = f"those of atoms {bad[:5].tolist()}" if len(bad) else "the cell"
    raise UnusableGeometry(
        f"positions and cell must be finite, {where} of {len(positions)} atoms are not: MD has blown up."
    )


def _check_crowding(n: int, cell: FloatArray, pbc: NDArray[np.bool_], cutoff: float, volume: float) -> None:
    """Raise UnusableGeometry where a sphere of the cutoff holds too many images of the n atoms."""
    crossed = np.cross(cell[[1, 2, 0]], cell[[2, 0, 1]])
    heights = volume / np.maximum(np.linalg.norm(crossed, axis=1), 1e-300)
    reach = 2.0 * cutoff / heights
    images = float(np.maximum(reach[pbc], 1.0).prod())  # an atom's own images within reach
    inside = n * np.pi / 6.0 * float(reach.prod())  # what a sphere holds of matter spread evenly over the box
    each = max(images * (np.pi / 6.0 if pbc.all() else 1.0), inside)
    if each > MAX_NEIGHBOURS or n * each > MAX_EDGES:
        raise UnusableGeometry(
            f"about {each:.0f} neighbours per atom within {cutoff:g} Å ({n} atoms, a box of {volume:.3g} Å³, heights "
            f"{', '.join(f'{h:.3g}' for h in heights)} Å), and {MAX_NEIGHBOURS} per atom or {MAX_EDGES:.0e} in all are "
            "the limit: the cell has collapsed, or is not in Å."
        )
