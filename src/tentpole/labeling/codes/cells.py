"""Cells and k-points, the same words for every plane-wave or numeric-orbital program."""

from __future__ import annotations

import math

import numpy as np
from ase import Atoms

from tentpole.errors import InputError, LabelError

NO_K_POINTS = "{}: no k-points for a periodic structure. Under [parameters]: k_spacing_per_A = 0.25."
BOX_MARGIN_A = 3.0  # between an atom and the box's face: below this, densities of the images overlap visibly


def k_grid(atoms: Atoms, spacing_per_A: float) -> tuple[int, int, int]:
    """Divisions n_i = max(1, ⌈2π|b_i| / spacing⌉) along the periodic directions, 1 along the others.

    `spacing_per_A` is the largest distance of neighbouring k-points in Å⁻¹ with the factor 2π in it, as in
    VASP's KSPACING; b_i are the reciprocal vectors without it. A slab gets one k-point across its vacuum,
    which KSPACING itself does not know of.
    """
    if not spacing_per_A > 0:
        raise InputError(f"k_spacing_per_A = {spacing_per_A}: a positive number in 1/Å, for instance 0.25.")
    lengths = 2 * math.pi * np.linalg.norm(atoms.cell.reciprocal().array, axis=1)
    one, two, three = (
        max(1, math.ceil(length / spacing_per_A - 1e-9)) if periodic else 1
        for length, periodic in zip(lengths, atoms.pbc, strict=True)
    )
    return one, two, three


def is_molecule(atoms: Atoms) -> bool:
    """Whether the structure is periodic in no direction."""
    return not atoms.pbc.any()


def check_cell(atoms: Atoms, code: str) -> None:
    """Raises LabelError where a periodic direction has no cell vector, or a slab no third vector."""
    if atoms.cell.rank < 3:
        raise LabelError(
            "bad_structure",
            f"the cell has {atoms.cell.rank} independent vectors and {code} needs three: "
            "give the vacuum directions a vector too.",
        )


def in_box(atoms: Atoms, edge_A: float | None, reference: str) -> Atoms:
    """A molecule in the middle of a cubic cell of fixed edge, as programs that are always periodic need it.

    The edge is fixed, not fitted to each frame: all labels then share one plane-wave basis.
    Raises InputError where no edge is stated, LabelError where the molecule does not fit.
    """
    if edge_A is None:
        raise InputError(
            f"{reference}: a molecule needs a box here, for the program is always periodic. In a reference "
            f'file of yours: parent = "{reference}", and under [parameters] box_A = 15.0 (edge of the cube).'
        )
    extent = float(np.ptp(atoms.positions, axis=0).max())
    if extent + 2 * BOX_MARGIN_A > edge_A:
        raise LabelError(
            "box_too_small",
            f"the molecule extends over {extent:.2f} Å; with {BOX_MARGIN_A} Å on each side it does not fit "
            f"box_A = {edge_A}. Take a larger box for all labels, or drop frames that fell apart.",
        )
    boxed = atoms.copy()
    boxed.cell = np.eye(3) * edge_A
    boxed.pbc = True
    middle = (atoms.positions.min(axis=0) + atoms.positions.max(axis=0)) / 2
    boxed.positions += edge_A / 2 - middle
    return boxed
