"""Which atoms of a structure constraints hold in place: nothing is asked of them but to stand there.

They count in energies, labels and training like all others; what is looked at to judge motion leaves them out.
"""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.constraints import FixAtoms, FixCartesian
from numpy.typing import NDArray


def moving(atoms: Atoms) -> NDArray[np.bool_]:
    """Which atoms (N,) can move in one direction at least.

    Parameters
    ----------
    atoms : ase.Atoms
        With its constraints; FixAtoms, and FixCartesian in all three directions, hold an atom.

    Returns
    -------
    (N,) array of bool

    Examples
    --------
    >>> from ase.build import molecule
    >>> from ase.constraints import FixAtoms
    >>> from tentpole.exploration.held import moving
    >>> water = molecule("H2O")
    >>> water.set_constraint(FixAtoms([0]))
    >>> moving(water).tolist()
    [False, True, True]
    """
    free = np.ones(len(atoms), dtype=bool)
    for constraint in atoms.constraints:
        whole = isinstance(constraint, FixCartesian) and bool(np.all(constraint.mask))
        if isinstance(constraint, FixAtoms) or whole:
            free[constraint.index] = False
    return free
