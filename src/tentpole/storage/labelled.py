"""Labelled extended XYZ of any origin: energies and forces under any of the usual keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from tentpole.errors import InputError
from tentpole.records import bare
from tentpole.storage.structures import read_structures

ENERGY_KEYS = ("REF_energy", "energy", "dft_energy", "DFT_energy", "Energy", "TotEnergy", "free_energy")
STRESS_KEYS = ("REF_stress", "stress", "dft_stress", "DFT_stress")
FORCES_KEYS = ("REF_forces", "forces", "dft_forces", "DFT_forces", "Forces", "force")


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """Frames with REF_energy and REF_forces, and what was found on the way.

    indices : place of each frame in the file. report : in words, which keys were used and what was left out.
    """

    frames: list[Atoms]
    indices: list[int]
    report: str


def read_labelled(
    path: Path,
    *,
    energy_key: str | None = None,
    forces_key: str | None = None,
    missing: Literal["refuse", "skip"] = "refuse",
    index: str = ":",
    stress_keys: Sequence[str] = ("REF_stress",),
) -> LabelledSet:
    """Read any labelled extended XYZ. Keys are named, or found among those in use.

    A stress (eV/Å³, six numbers or nine) is kept as REF_stress where a frame has one under one of `stress_keys`.

    Raises InputError where a key is not there, or where frames lack one of them and `missing` is "refuse".
    """
    frames = read_structures(Path(path), index, "labelled frames", finite=False)
    energy = energy_key or _found(frames, ENERGY_KEYS, _energy, "energy", path)
    forces = forces_key or _found(frames, FORCES_KEYS, _forces, "forces", path)
    kept: list[Atoms] = []
    indices: list[int] = []
    for k, atoms in enumerate(frames):
        e, f = _energy(atoms, energy), _forces(atoms, forces)
        if e is None or f is None or not (np.isfinite(e) and np.isfinite(f).all()):
            continue
        known = bare(atoms)
        known.info["REF_energy"], known.arrays["REF_forces"] = e, f
        for key in stress_keys:
            if (stress := _stress(atoms, key)) is not None:
                known.info["REF_stress"] = stress
                break
        kept.append(known)
        indices.append(k)
    lost = len(frames) - len(kept)
    report = f"{len(kept)} of {len(frames)} frames of {path} with energy {energy!r} and forces {forces!r}"
    if lost and (missing == "refuse" or not kept):
        first = next(k for k in range(len(frames)) if k not in set(indices))
        raise InputError(
            f"{lost} of {len(frames)} frames of {path} lack a finite {energy!r} or {forces!r}, the first is frame "
            f'{first}. Name other keys, or leave such frames out with missing = "skip".'
        )
    return LabelledSet(kept, indices, report + (f"; {lost} without both left out" if lost else ""))


def _energy(atoms: Atoms, key: str) -> float | None:
    stored = atoms.calc.results if atoms.calc is not None else {}
    value = atoms.info.get(key, stored.get(key))
    return None if value is None else float(value)


def _forces(atoms: Atoms, key: str) -> NDArray[np.float64] | None:
    stored = atoms.calc.results if atoms.calc is not None else {}
    value = atoms.arrays.get(key, stored.get(key))
    return None if value is None or np.shape(value) != (len(atoms), 3) else np.array(value, dtype=np.float64)


def _stress(atoms: Atoms, key: str) -> NDArray[np.float64] | None:
    stored = atoms.calc.results if atoms.calc is not None else {}
    value = atoms.info.get(key, stored.get(key))
    return None if value is None else np.array(value, dtype=np.float64)


def _found(frames: Sequence[Atoms], keys: Sequence[str], get: object, what: str, path: Path) -> str:
    for key in keys:
        if any(get(atoms, key) is not None for atoms in frames):  # type: ignore[operator]
            return key
    there = sorted({word for atoms in frames for word in (*atoms.info, *atoms.arrays)})
    raise InputError(f"{path}: no {what} under any of {', '.join(keys)}. Name the key; there are: {there}")
