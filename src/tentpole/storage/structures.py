"""Structures in files: extended XYZ that is whole or not there, JSON, and any file that ASE reads."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import read
from ase.io import read as ase_read
from ase.io import write as ase_write

from tentpole.errors import InputError
from tentpole.records import CHARGE, MOMENTS, MULTIPLICITY, Label, moments_of, own_state
from tentpole.storage.atomic import atomic_write

STATE = (CHARGE, MULTIPLICITY)

UNPACKED_LIMIT = 2**30
"""Bytes that a packed file of structures may unpack to: 2 MB of zeros in gzip unpack to 2 GB."""
_UNPACK: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


def write_frames(path: Path, frames: Atoms | Sequence[Atoms]) -> None:
    """Write extended XYZ, whole or not at all."""
    text = io.StringIO()
    ase_write(text, frames, format="extxyz")
    atomic_write(path, text.getvalue().encode())


def atoms_to_json(atoms: Atoms) -> dict[str, Any]:
    """Species, positions, cell, pbc, and where there are any starting moments, charge and multiplicity.

    Nothing else of an Atoms object is part of a structure here.
    """
    content = {
        "numbers": atoms.numbers.tolist(),
        "positions": atoms.positions.tolist(),
        "cell": atoms.cell.array.tolist(),
        "pbc": atoms.pbc.tolist(),
    }
    moments = moments_of(atoms)
    if moments is not None:
        content[MOMENTS] = moments.tolist()
    return content | {key: value for key, value in zip(STATE, own_state(atoms), strict=True) if value is not None}


def atoms_from_json(content: dict[str, Any]) -> Atoms:
    """The structure that `atoms_to_json` gave."""
    return Atoms(
        numbers=content["numbers"],
        positions=np.asarray(content["positions"], dtype=float).reshape(-1, 3),
        cell=content["cell"],
        pbc=content["pbc"],
        magmoms=content.get(MOMENTS),
        info={key: int(content[key]) for key in STATE if key in content},
    )


def labelled_frames(path: Path) -> list[Atoms]:
    """The frames of a training file. Raises InputError for a missing file or a frame without labels."""
    if not path.is_file():
        raise InputError(f"no training file {path}")
    frames: list[Atoms] = read(path, index=":", format="extxyz")
    if not frames:
        raise InputError(f"{path} holds no structure")
    for k, atoms in enumerate(frames):
        if "REF_energy" not in atoms.info or "REF_forces" not in atoms.arrays:
            raise InputError(f"{path}: frame {k} lacks REF_energy or REF_forces")
    return frames


def read_structures(file: Path, index: int | str, where: str, *, finite: bool = True) -> list[Atoms]:
    """Structures of `file`. Raises InputError where it is missing, empty, or (unless finite=False) not finite."""
    if not file.is_file():
        raise InputError(f"{where}: no such file: {file}")
    try:
        _refuse_what_swells(file, where)
        frames = ase_read(file, index=index, do_not_split_by_at_sign=True)  # "cu@300K.xyz" is a file's name
    except InputError:
        raise
    except Exception as error:  # ASE's readers raise whatever they meet
        raise InputError(f"{where}: ASE cannot read {file}: {type(error).__name__}: {error}") from None
    frames = [frames] if isinstance(frames, Atoms) else list(frames)
    if not frames:
        raise InputError(f"{where}: {file} holds no structure")
    for number, atoms in enumerate(frames if finite else []):
        if len(atoms) == 0:
            raise InputError(f"{where}: structure {number} of {file} has no atoms")
        if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
            raise InputError(f"{where}: structure {number} of {file}: positions or cell are not finite")
    return frames


def _refuse_what_swells(file: Path, where: str) -> None:
    """Raises InputError for a packed file that unpacks to more than UNPACKED_LIMIT."""
    unpack = _UNPACK.get(file.suffix.lower())
    if unpack is None:
        return
    left = UNPACKED_LIMIT
    with unpack(file, "rb") as stream:
        while block := stream.read(1 << 20):
            left -= len(block)
            if left < 0:
                raise InputError(
                    f"{where}: {file} unpacks to more than {UNPACKED_LIMIT / 2**20:.0f} MiB. Give a part of it, or "
                    "unpack it yourself and name what comes out."
                )


def labelled_atoms(label: Label) -> Atoms:
    """The label's structure with REF_energy, REF_forces and, where known, REF_stress, as MACE reads them."""
    atoms = label.atoms.copy()
    atoms.info["REF_energy"] = label.energy
    atoms.arrays["REF_forces"] = np.asarray(label.forces)
    if label.stress is not None:
        atoms.info["REF_stress"] = np.asarray(label.stress)
    if label.charge is not None:
        atoms.info["charge"] = label.charge
    return atoms
