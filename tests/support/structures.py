"""Two small structures for the committee tests."""

import numpy as np
from ase import Atoms


def zundel(seed: int = 0, rattle: float = 0.1) -> Atoms:
    """A protonated water dimer, shaken."""
    atoms = Atoms(
        "OHHOHHH",
        positions=[
            [-1.2, 0.0, 0.0],
            [-1.6, 0.8, 0.3],
            [-1.6, -0.6, -0.6],
            [1.2, 0.0, 0.0],
            [1.6, 0.3, -0.8],
            [1.6, -0.9, 0.2],
            [0.0, 0.0, 0.05],
        ],
    )
    atoms.positions += np.random.default_rng(seed).normal(0.0, rattle, (7, 3))
    return atoms


def ice(seed: int = 0) -> Atoms:
    """A small periodic cell of water, shaken: a third of its neighbours are images."""
    atoms = Atoms(
        "OHHOHH",
        positions=[[0, 0, 0], [0.76, 0.59, 0], [-0.76, 0.59, 0], [2, 2, 2], [2.7, 2.6, 2], [1.3, 2.6, 2.1]],
        cell=[[4.1, 0.0, 0.0], [0.3, 4.4, 0.0], [0.0, 0.5, 4.6]],
        pbc=True,
    )
    atoms.positions += np.random.default_rng(seed).normal(0.0, 0.05, (6, 3))
    return atoms
