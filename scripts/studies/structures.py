"""The starting structures of the studies in this folder: crystals by ase.build, melts by MD of CHGNet (extra "chgnet").

python scripts/studies/structures.py            # writes them beside this file
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.io import write

from tentpole.exploration import Langevin, advance, init_walker
from tentpole.labeling import load
from tentpole.records import Condition, bare

HERE = Path(__file__).resolve().parent


def beta_tin() -> Atoms:
    """Eight atoms of β-tin silicon."""
    places = [[0, 0, 0], [0.5, 0.5, 0.5], [0, 0.5, 0.25], [0.5, 0, 0.75]]
    return Atoms("Si4", scaled_positions=places, cell=[4.81, 4.81, 2.65], pbc=True).repeat((1, 1, 2))


def graphite() -> Atoms:
    """Eight atoms of graphite, in a cell with right angles."""
    a, c = 2.46, 6.70
    layer = np.array([[0, 0], [0, 2 / 3], [0.5, 0.5], [0.5, 1 / 6]])
    low = [[x, y, 0.0] for x, y in layer]
    high = [[x, (y + 1 / 3) % 1, 0.5] for x, y in layer]
    return Atoms("C8", scaled_positions=low + high, cell=[a, a * 3**0.5, c], pbc=True)


def melted(atoms: Atoms, volume_ratio: float, temperature_K: float, steps: int = 400) -> Atoms:
    """What `atoms` are after MD of CHGNet at another volume and a high temperature, 1 fs a step."""
    start = atoms.copy()
    start.set_cell(atoms.cell.array * volume_ratio ** (1 / 3), scale_atoms=True)
    calculator = load("chgnet", start.get_chemical_symbols()).calculator(atoms=start)
    walker = init_walker("melt", Condition("melt", temperature_K), start, np.random.default_rng(0))
    moved = bare(advance(walker, calculator, steps, Langevin(1.0, 0.02)).atoms)
    moved.wrap()
    return moved


def main() -> None:
    """Write all of them."""
    silicon, salt, diamond = bulk("Si", cubic=True), bulk("NaCl", "rocksalt", a=5.64, cubic=True), bulk("C", cubic=True)
    found = {
        "si-diamond": silicon,
        "si-beta-tin": beta_tin(),
        "si-liquid": melted(silicon, 0.92, 5000.0),
        "nacl-b1": salt,
        "nacl-b2": bulk("NaCl", "cesiumchloride", a=3.40, cubic=True).repeat((2, 2, 1)),
        "nacl-liquid": melted(salt, 1.25, 3000.0),
        "c-diamond": diamond,
        "c-graphite": graphite(),
        "c-liquid": melted(diamond, 1.6, 9000.0),
    }
    for name, atoms in found.items():
        write(HERE / f"{name}.xyz", atoms, format="extxyz")
        print(f"{name}: {len(atoms)} atoms, {atoms.get_volume() / len(atoms):.2f} Å³ each")


if __name__ == "__main__":
    main()
