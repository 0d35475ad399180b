"""Labelled extended XYZ of any origin: energies and forces under any of the usual keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from ase import Atoms
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import NDArray

from tentpole.errors import InputError
from tentpole.records import CHARGE, MULTIPLICITY, bare
from tentpole.storage.structures import read_structures

ENERGY_KEYS = ("REF_energy", "energy", "dft_energy", "DFT_energy", "Energy", "TotEnergy", "free_energy")
FORCES_KEYS = ("REF_forces", "forces", "dft_forces", "DFT_forces", "Forces", "force")
STRESS_KEYS = ("REF_stress", "stress", "dft_stress", "DFT_stress", "Stress")
VIRIAL_KEYS = ("REF_virial", "REF_virials", "virial", "virials", "dft_virial", "DFT_virial", "dft_virials", "Virial")


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """Frames with REF_energy and REF_forces, and what was found on the way.

    indices : place of each frame in the file. report : in words, which keys were used and what was left out.
    """

    frames: list[Atoms]
    indices: list[int]
    report: str


_BY_STUDIES = " (a study of query by committee may name other keys, or leave frames out)"


def read_labelled(
    path: Path,
    *,
    energy_key: str | None = None,
    forces_key: str | None = None,
    missing: Literal["refuse", "skip"] = "refuse",
    index: str = ":",
    stress_keys: Sequence[str] = STRESS_KEYS,
) -> LabelledSet:
    """Read any labelled extended XYZ. Keys are named, or found among those in use.

    Stresses of periodic frames are kept as REF_stress, (6,) in eV/Å³ with ASE's order and sign: they are read as such
    or as 3 × 3 under any of STRESS_KEYS, or from virials W in eV (VIRIAL_KEYS) as −W/V. Isolated atoms (one atom,
    config_type "IsolatedAtom") stay what they are, and need no forces.

    Raises InputError where a key is not there, or where frames lack one of them and `missing` is "refuse".
    """
    frames = read_structures(Path(path), index, "labelled frames", finite=False)
    energy = energy_key or _found(frames, ENERGY_KEYS, _energy, "energy", path)
    forces = forces_key or _found(frames, FORCES_KEYS, _forces, "forces", path)
    kept: list[Atoms] = []
    indices: list[int] = []
    stressed: dict[str, int] = {}
    for k, atoms in enumerate(frames):
        e, f, alone = _energy(atoms, energy), _forces(atoms, forces), atoms.info.get("config_type") == "IsolatedAtom"
        if f is None and alone and len(atoms) == 1:
            f = np.zeros((1, 3))
        if e is None or f is None or not (np.isfinite(e) and np.isfinite(f).all()):
            continue
        known = bare(atoms)
        known.info["REF_energy"], known.arrays["REF_forces"] = e, f
        if alone:
            known.info["config_type"] = "IsolatedAtom"
        known.info |= {key: atoms.info[key] for key in (CHARGE, MULTIPLICITY) if key in atoms.info}
        stress, key = _stress(atoms, stress_keys)
        if stress is not None:
            known.info["REF_stress"] = stress
            stressed[key] = stressed.get(key, 0) + 1
        kept.append(known)
        indices.append(k)
    lost = len(frames) - len(kept)
    report = f"{len(kept)} of {len(frames)} frames of {path} with energy {energy!r} and forces {forces!r}"
    report += "".join(f", {number} of them with stress from {key!r}" for key, number in stressed.items())
    if lost and (missing == "refuse" or not kept):
        first = next(k for k in range(len(frames)) if k not in set(indices))
        raise InputError(
            f"{lost} of {len(frames)} frames of {path} lack a finite {energy!r} or {forces!r}, the first is frame "
            f"{first}. Correct them or take them out of the file{_BY_STUDIES}."
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


def _stress(atoms: Atoms, stress_keys: Sequence[str]) -> tuple[NDArray[np.float64] | None, str]:
    """The stress of a periodic frame (6,), and the key that it was found under."""
    if not atoms.pbc.any():
        return None, ""
    stored = atoms.calc.results if atoms.calc is not None else {}
    for key in (*stress_keys, *VIRIAL_KEYS):
        value = np.asarray(atoms.info.get(key, stored.get(key, np.nan)), dtype=np.float64)
        if value.size not in (6, 9) or not np.isfinite(value).all():
            continue
        full = value.reshape(3, 3) if value.size == 9 else None
        voigt = value.reshape(6) if full is None else np.asarray(full_3x3_to_voigt_6_stress(full))
        return (voigt, key) if key in stress_keys else (-voigt / atoms.get_volume(), key)
    return None, ""


def _found(frames: Sequence[Atoms], keys: Sequence[str], get: object, what: str, path: Path) -> str:
    for key in keys:
        if any(get(atoms, key) is not None for atoms in frames):  # type: ignore[operator]
            return key
    there = sorted({word for atoms in frames for word in (*atoms.info, *atoms.arrays)})
    raise InputError(
        f"{path}: no {what} under any of {', '.join(keys)}. Give it one of these names{_BY_STUDIES}; there are: {there}"
    )
