"""Labelled frames for the study: the Zundel cation, driven and labelled by GFN2-xTB (the extra "xtb").

    python examples/05_zundel_qbc/make_frames.py            # 250 frames at 300 and 600 K beside study.toml

Any labelled extended XYZ of your own does as well: name it as `data` in study.toml.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.io import read, write
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

HERE = Path(__file__).resolve().parent
EVERY = 20
"""Steps of 0.5 fs between two frames that are kept."""


def walk(start: Atoms, temperature_K: float, frames: int, seed: int) -> list[Atoms]:
    """Frames of MD by the reference, each with its energy and forces."""
    from tblite.ase import TBLite

    atoms, rng = start.copy(), np.random.RandomState(seed)
    atoms.calc = TBLite(method="GFN2-xTB", charge=1, multiplicity=1, verbosity=0)
    MaxwellBoltzmannDistribution(atoms, temperature_K=temperature_K, rng=rng)
    settings = {"temperature_K": temperature_K, "friction": 0.02 / units.fs, "rng": rng, "fixcm": False}
    dynamics = Langevin(atoms, 0.5 * units.fs, **settings)
    kept = []
    for _ in range(frames):
        dynamics.run(EVERY)
        frame = atoms.copy()
        frame.info = {"REF_energy": float(atoms.get_potential_energy()), "temperature_K": temperature_K}
        frame.arrays["REF_forces"] = atoms.get_forces()
        kept.append(frame)
    return kept


def main(out: Path = HERE / "zundel.extxyz", frames: int = 250) -> Path:
    """Write the frames to `out` and return it."""
    start = read(HERE.parent / "01_zundel" / "zundel.xyz")
    found = [*walk(start, 300.0, frames // 2, 0), *walk(start, 600.0, frames - frames // 2, 1)]
    order = np.random.default_rng(0).permutation(len(found))
    write(out, [found[k] for k in order], format="extxyz")
    print(f"{out}: {len(found)} frames by GFN2-xTB")
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "zundel.extxyz")
    parser.add_argument("--frames", type=int, default=250)
    given = parser.parse_args()
    main(given.out, given.frames)
