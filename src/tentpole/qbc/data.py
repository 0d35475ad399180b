"""A labelled set as any code wrote it: keys found, gaps reported, twins kept apart, split once for all runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from ase import Atoms
from ase.geometry import get_distances
from ase.io import read
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from tentpole.errors import InputError

ENERGY_KEYS = ("REF_energy", "energy", "dft_energy", "DFT_energy", "Energy", "TotEnergy", "free_energy")
FORCES_KEYS = ("REF_forces", "forces", "dft_forces", "DFT_forces", "Forces", "force")


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """Frames with REF_energy and REF_forces, and what was found on the way.

    indices : place of each frame in the file. report : in words, which keys were used and what was left out.
    """

    frames: list[Atoms]
    indices: list[int]
    report: str


@dataclass(frozen=True, slots=True)
class Split:
    """Indices into a labelled set: to start from, to validate trainings, to test on, to choose from.

    No two of them hold twins of each other, and the pool holds no twins at all. `left_out` counts the frames
    that were twins.
    """

    initial: list[int]
    valid: list[int]
    test: list[int]
    pool: list[int]
    left_out: int


def read_labelled(
    path: Path,
    *,
    energy_key: str | None = None,
    forces_key: str | None = None,
    missing: Literal["refuse", "skip"] = "refuse",
) -> LabelledSet:
    """Read any labelled extended XYZ. Keys are named, or found among those in use; REF_stress is kept.

    Raises InputError where a key is not there, or where frames lack one of them and `missing` is "refuse".
    """
    if not Path(path).is_file():
        raise InputError(f"no file {path}")
    frames: list[Atoms] = read(path, index=":")
    if not frames:
        raise InputError(f"{path} holds no structure")
    energy = energy_key or _found(frames, ENERGY_KEYS, _energy, "energy", path)
    forces = forces_key or _found(frames, FORCES_KEYS, _forces, "forces", path)
    kept: list[Atoms] = []
    indices: list[int] = []
    for k, atoms in enumerate(frames):
        e, f = _energy(atoms, energy), _forces(atoms, forces)
        if e is None or f is None or not (np.isfinite(e) and np.isfinite(f).all()):
            continue
        bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        bare.info["REF_energy"], bare.arrays["REF_forces"] = e, f
        if "REF_stress" in atoms.info:
            bare.info["REF_stress"] = atoms.info["REF_stress"]
        kept.append(bare)
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


def twins(frames: Sequence[Atoms], tolerance_A: float = 1e-3) -> NDArray[np.int64]:
    """(n,) the index of the first frame that each frame is a rotated, shifted or reflected copy of; else its own.

    Two frames are twins when their sorted interatomic distances, species pair by species pair, differ nowhere
    by more than the tolerance.
    """
    first = np.arange(len(frames))
    kinds: dict[str, list[int]] = {}
    for k, atoms in enumerate(frames):
        kinds.setdefault(f"{sorted(atoms.numbers.tolist())} {atoms.pbc.tolist()}", []).append(k)
    for members in kinds.values():
        signatures = np.array([_distances(frames[k]) for k in members])
        if signatures.shape[1] == 0:  # single atoms: all alike
            first[members] = members[0]
            continue
        for a, b in sorted(cKDTree(signatures).query_pairs(tolerance_A, p=np.inf)):
            first[members[b]] = min(first[members[b]], first[members[a]])
    return first


def split(frames: Sequence[Atoms], *, initial: int, valid: int, test: int, seed: int) -> Split:
    """Draw test, validation and initial frames; the rest is the pool, one of each set of twins.

    Raises InputError where there are too few frames.
    """
    first = twins(frames)
    unique = np.flatnonzero(first == np.arange(len(frames)))
    needed = initial + valid + test
    if len(unique) <= needed:
        raise InputError(
            f"{len(unique)} different frames cannot give {test} to test, {valid} to validate and {initial} to start"
        )
    drawn = np.random.default_rng(seed).permutation(unique).tolist()
    return Split(
        test=sorted(drawn[:test]),
        valid=sorted(drawn[test : test + valid]),
        initial=sorted(drawn[test + valid : needed]),
        pool=sorted(drawn[needed:]),
        left_out=len(frames) - len(unique),
    )


def _distances(atoms: Atoms) -> NDArray[np.float64]:
    cell = atoms.cell if atoms.pbc.any() else None
    _, d = get_distances(atoms.positions, cell=cell, pbc=atoms.pbc if atoms.pbc.any() else None)
    i, j = np.triu_indices(len(atoms), 1)
    z = np.sort(np.stack([atoms.numbers[i], atoms.numbers[j]]), axis=0)
    order = np.lexsort((d[i, j], z[1], z[0]))
    return np.asarray(d[i, j][order], dtype=np.float64)


def _energy(atoms: Atoms, key: str) -> float | None:
    stored = atoms.calc.results if atoms.calc is not None else {}
    value = atoms.info.get(key, stored.get(key))
    return None if value is None else float(value)


def _forces(atoms: Atoms, key: str) -> NDArray[np.float64] | None:
    stored = atoms.calc.results if atoms.calc is not None else {}
    value = atoms.arrays.get(key, stored.get(key))
    return None if value is None or np.shape(value) != (len(atoms), 3) else np.array(value, dtype=np.float64)


def _found(frames: Sequence[Atoms], keys: Sequence[str], get: object, what: str, path: Path) -> str:
    for key in keys:
        if any(get(atoms, key) is not None for atoms in frames):  # type: ignore[operator]
            return key
    there = sorted({word for atoms in frames for word in (*atoms.info, *atoms.arrays)})
    raise InputError(f"{path}: no {what} under any of {', '.join(keys)}. Name the key; there are: {there}")
