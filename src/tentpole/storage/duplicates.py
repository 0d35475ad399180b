"""Structures that are rotated, shifted or reflected copies of each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.geometry import get_distances
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from tentpole.records import readable_state


def duplicate_of(frames: Sequence[Atoms], tolerance_A: float = 1e-3) -> NDArray[np.int64]:
    """(n,) the index of the first frame that each frame is a rotated, shifted or reflected copy of; else its own.

    Two frames are twins when their sorted interatomic distances, species pair by species pair, differ nowhere
    by more than the tolerance.
    """
    first = np.arange(len(frames))
    kinds: dict[str, list[int]] = {}
    for k, atoms in enumerate(frames):
        kinds.setdefault(f"{sorted(atoms.numbers.tolist())} {atoms.pbc.tolist()} {readable_state(atoms)}", []).append(k)
    for members in kinds.values():
        signatures = np.array([_distances(frames[k]) for k in members])
        if signatures.shape[1] == 0:  # single atoms: all alike
            first[members] = members[0]
            continue
        for a, b in sorted(cKDTree(signatures).query_pairs(tolerance_A, p=np.inf)):
            first[members[b]] = min(first[members[b]], first[members[a]])
    return first


def _distances(atoms: Atoms) -> NDArray[np.float64]:
    cell = atoms.cell if atoms.pbc.any() else None
    _, d = get_distances(atoms.positions, cell=cell, pbc=atoms.pbc if atoms.pbc.any() else None)
    i, j = np.triu_indices(len(atoms), 1)
    z = np.sort(np.stack([atoms.numbers[i], atoms.numbers[j]]), axis=0)
    order = np.lexsort((d[i, j], z[1], z[0]))
    return np.asarray(d[i, j][order], dtype=np.float64)
