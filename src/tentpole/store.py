"""The campaign folder: files that are whole or not there.

Every file is written beside its place, fsynced, then moved there by `os.replace`; every JSON file carries a
format version and a checksum of its content. Readers refuse what does not match, and name the file.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import write as ase_write

from tentpole.errors import StateError
from tentpole.state import FloatArray, Label, bare

LABEL_VERSION = 1
_MEND = "Restore it from a copy, or delete it: what is missing is made anew."


def atomic_write(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that a reader sees the old content or the new, never a part.

    Raises OSError, with the file's name in it, where the disk does not take it.
    """
    make_folder(path.parent)
    beside = path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # writing and syncing name none
        raise
    sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Make `folder`, and what is above it, so that a power cut does not take it away again."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def write_frames(path: Path, frames: Atoms | Sequence[Atoms]) -> None:
    """Write extended XYZ, whole or not at all."""
    text = io.StringIO()
    ase_write(text, frames, format="extxyz")
    atomic_write(path, text.getvalue().encode())


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write `content` with its checksum under the key "checksum". Floats are written exactly (repr)."""
    body = json.dumps(content, sort_keys=True)
    checksum = hashlib.sha256(body.encode()).hexdigest()
    text = json.dumps({**content, "checksum": checksum}, sort_keys=True)
    atomic_write(path, (text + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """The content written by `write_json`. Raises StateError, naming the file, where it is not that."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise StateError(f"{path}: cannot be read ({error}). {_MEND}") from None
    stored = content.pop("checksum", None) if isinstance(content, dict) else None
    if stored != hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest():
        raise StateError(f"{path}: damaged, its checksum does not match. {_MEND}")
    return dict(content)


def atoms_to_json(atoms: Atoms) -> dict[str, Any]:
    """Species, positions, cell and pbc; nothing else of an Atoms object is part of a structure here."""
    return {
        "numbers": atoms.numbers.tolist(),
        "positions": atoms.positions.tolist(),
        "cell": atoms.cell.array.tolist(),
        "pbc": atoms.pbc.tolist(),
    }


def atoms_from_json(content: dict[str, Any]) -> Atoms:
    return Atoms(
        numbers=content["numbers"],
        positions=np.asarray(content["positions"], dtype=float).reshape(-1, 3),
        cell=content["cell"],
        pbc=content["pbc"],
    )


def label_path(root: Path, structure: str, reference: str) -> Path:
    name = f"{structure}-{reference}"
    return root / "labels" / name[:2] / f"{name}.json"


def find_label(root: Path, structure: str, reference: str) -> Path | None:
    """The file of the label that `reference` gave `structure`, or None."""
    path = label_path(root, structure, reference)
    return path if path.exists() else None


def write_label(root: Path, label: Label) -> Path:
    """Write one label under `root`/labels. Called by the worker that computed it."""
    path = label_path(root, label.structure, label.reference)
    write_json(
        path,
        {
            "version": LABEL_VERSION,
            "structure": label.structure,
            "reference": label.reference,
            "atoms": atoms_to_json(label.atoms),
            "energy": float(label.energy),
            "forces": np.asarray(label.forces, dtype=float).tolist(),
            "stress": None if label.stress is None else np.asarray(label.stress, dtype=float).tolist(),
            "charge": label.charge,
            "multiplicity": label.multiplicity,
            "details": label.details,
        },
    )
    return path


def read_label(path: Path) -> Label:
    """One label. Raises StateError where the file is damaged or of a version this Tentpole does not read."""
    content = read_json(path)
    if content.get("version") != LABEL_VERSION:
        raise StateError(
            f"{path}: label format {content.get('version')}, this Tentpole reads {LABEL_VERSION}. "
            "Use the version of Tentpole that wrote it."
        )
    stress = content["stress"]
    return Label(
        structure=content["structure"],
        reference=content["reference"],
        atoms=atoms_from_json(content["atoms"]),
        energy=float(content["energy"]),
        forces=_array(content["forces"]).reshape(-1, 3),
        stress=None if stress is None else _array(stress),
        charge=content["charge"],
        multiplicity=content["multiplicity"],
        details=content["details"],
    )


def label_files(root: Path) -> Iterator[Path]:
    """All label files under `root`, in the order of their names."""
    return iter(sorted((root / "labels").glob("[0-9a-f][0-9a-f]/*.json")))


def quarantine(
    root: Path, name: str, reason: str, message: str, atoms: Atoms, output: dict[str, bytes] | None = None
) -> Path:
    """Keep what failed in `root`/quarantine/`name`: reason.json, the structure, and the code's own output."""
    folder = root / "quarantine" / name
    for file, data in (output or {}).items():
        atomic_write(folder / Path(file).name, data)
    write_frames(folder / "structure.xyz", bare(atoms))
    write_json(folder / "reason.json", {"version": 1, "name": name, "reason": reason, "message": message})
    return folder


def _array(values: Any) -> FloatArray:
    return np.asarray(values, dtype=np.float64)
