"""Small labelled sets for the training tests: water molecules under an analytic potential."""

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.io import write

E0S = {"H": -13.0, "O": -2040.0}


def labelled(n: int, seed: int = 0, offset_eV: float = 0.0) -> list[Atoms]:
    """n shaken water molecules; harmonic bonds of 10 eV/Å² about 0.96 Å (O-H) and 1.51 Å (H-H)."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(n):
        atoms = Atoms("OHH", positions=[[0, 0, 0], [0.76, 0.58, 0], [-0.76, 0.58, 0]])
        atoms.positions += rng.normal(0.0, 0.08, (3, 3))
        energy, forces = sum(2 * [E0S["H"]]) + E0S["O"] - 9.0 + offset_eV, np.zeros((3, 3))
        for i, j, length in ((0, 1, 0.96), (0, 2, 0.96), (1, 2, 1.51)):
            vector = atoms.positions[j] - atoms.positions[i]
            d = float(np.linalg.norm(vector))
            energy += 5.0 * (d - length) ** 2
            forces[i] += 10.0 * (d - length) * vector / d
            forces[j] -= 10.0 * (d - length) * vector / d
        atoms.info["REF_energy"], atoms.arrays["REF_forces"] = energy, forces
        frames.append(atoms)
    return frames


def files(folder: Path, n: int = 12, seed: int = 0) -> tuple[Path, Path]:
    """train.xyz with n frames and valid.xyz with four."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "train.xyz", labelled(n, seed), format="extxyz")
    write(folder / "valid.xyz", labelled(4, seed + 100), format="extxyz")
    return folder / "train.xyz", folder / "valid.xyz"
