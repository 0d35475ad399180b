"""Small pictures of structures as SVG text: balls in the elements' usual colours, and a cell's edges."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.data.colors import jmol_colors

from tentpole.records import FloatArray

MOST_ATOMS = 400
"""Of larger structures that many atoms are drawn, those in front."""
_EDGES = [(a, a | 1 << k) for a in range(8) for k in range(3) if not a >> k & 1]
_CORNERS = np.array([[a & 1, a >> 1 & 1, a >> 2 & 1] for a in range(8)], dtype=float)


def svg(atoms: Atoms, side_px: int = 84) -> str:
    """The structure as an <svg> element.

    Parameters
    ----------
    atoms : Atoms
        Molecules are turned so that they lie flat; cells are seen a little from above.
    side_px : int
        Width and height.

    Returns
    -------
    str
        Self-contained markup, with the formula as its title.
    """
    periodic = bool(atoms.pbc.any())
    view = _from_above() if periodic else _flat(atoms.positions)
    middle = atoms.cell.array.sum(axis=0) / 2 if periodic else atoms.positions.mean(axis=0)
    places = (atoms.positions - middle) @ view
    corners = (_CORNERS @ atoms.cell.array - middle) @ view if periodic else np.zeros((0, 3))
    radii = 0.62 * covalent_radii[atoms.numbers]
    reach = _reach(places, radii, corners)
    scale = side_px / (2 * reach)
    half = side_px / 2
    parts = [_line(*(half + scale * corners[list(edge)][:, :2] * (1, -1)).ravel()) for edge in _EDGES if periodic]
    for i in np.argsort(places[:, 2], kind="stable")[-MOST_ATOMS:]:
        x, y = half + scale * places[i, 0], half - scale * places[i, 1]
        parts.append(_ball(x, y, scale * radii[i], jmol_colors[atoms.numbers[i]]))
    title = f"<title>{atoms.get_chemical_formula()}</title>"
    size = f'width="{side_px}" height="{side_px}" viewBox="0 0 {side_px} {side_px}"'
    return f'<svg class="atoms" role="img" {size}>{title}{"".join(parts)}</svg>'


def _reach(places: FloatArray, radii: FloatArray, corners: FloatArray) -> float:
    """Half the side of the square that everything fits into, in Å."""
    reaches = [np.abs(places[:, :2]).max(axis=1) + radii] if len(places) else []
    reaches += [np.abs(corners[:, :2]).max(axis=1)] if len(corners) else []
    return 1.06 * max((float(part.max()) for part in reaches), default=1.0)


def _flat(positions: FloatArray) -> FloatArray:
    """Axes of the page, as columns: along the longest two extents of the atoms; the same for the same positions."""
    if len(positions) < 2:
        return np.eye(3)
    _, _, axes = np.linalg.svd(positions - positions.mean(axis=0), full_matrices=True)
    for axis in axes:
        axis *= np.sign(axis[np.argmax(np.abs(axis))])
    axes[2] = np.cross(axes[0], axes[1])
    turned: FloatArray = axes.T
    return turned


def _from_above() -> FloatArray:
    tilt, turn = np.radians(-75.0), np.radians(-20.0)
    about_x = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    about_z = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    view: FloatArray = (about_x @ about_z).T
    return view


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _ball(x: float, y: float, r: float, colour: FloatArray) -> str:
    red, green, blue = (round(255 * c) for c in colour)
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r:.1f}" fill="#{red:02x}{green:02x}{blue:02x}"/>'
