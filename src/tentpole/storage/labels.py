"""Label files, one per label, and the quarantine of what failed."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from tentpole.errors import InputError, StateError, reading
from tentpole.records import FloatArray, Label, bare
from tentpole.storage.atomic import REMEDY, atomic_write, read_json, sync_folder, write_json
from tentpole.storage.structures import atoms_from_json, atoms_to_json, write_frames

LABEL_VERSION = 1
_PREFIX = re.compile(r"[0-9a-f]{2}")
_NAME = re.compile(r"[0-9a-f]{32}-[0-9a-f]+")
_FILE = re.compile(_NAME.pattern + r"\.json")


def label_path(root: Path, structure: str, reference: str) -> Path:
    """The file of the label that `reference` gives `structure`, there or not."""
    name = f"{structure}-{reference}"
    return root / "labels" / name[:2] / f"{name}.json"


def is_name(name: object) -> bool:
    """Whether `name` can be a label's: structure hash, reference hash."""
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def find_label(root: Path, structure: str, reference: str) -> Path | None:
    """The file of the label that `reference` gave `structure`, or None."""
    path = label_path(root, structure, reference)
    return path if path.exists() else None


def write_label(root: Path, label: Label) -> Path:
    """Write one label under `root`/labels. Called by the worker that computed it.

    Raises
    ------
    InputError
        For what is no label, see `Label.check` and `Label.check_details`.
    OSError
        Where `root` is not there: a folder that was moved or removed meanwhile does not come back.
    """
    label.check()
    label.check_details()
    _must_exist(root)
    path = label_path(root, label.structure, label.reference)
    for folder in (path.parent.parent, path.parent):
        _make_inside(folder)
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
    """One label.

    Raises
    ------
    StateError
        Where the file is damaged, of a version this Tentpole does not read, or holds another label than its name says.
    """
    content = read_json(path)
    if content.get("version") != LABEL_VERSION:
        raise StateError(
            f"{path}: label format {content.get('version')}, this Tentpole reads {LABEL_VERSION}. "
            "Use the version of Tentpole that wrote it."
        )
    with reading(path, error=StateError, remedy=REMEDY):
        label = _label(content)
        label.check()
        if label.name != path.stem:
            raise StateError(
                f"{path}: holds the label {label.name}: files have been swapped or copied over each other. {REMEDY}"
            )
    return label


def _label(content: dict[str, Any]) -> Label:
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
    """All label files under `root`, in the order of their names; what else lies there is passed over."""
    return (label_path(root, *name.split("-")) for name in sorted(label_names(root)))


def label_names(root: Path) -> set[str]:
    """The names of all labels under `root`: a listing alone, no file is looked into."""
    place = root / "labels"
    return {
        name.removesuffix(".json")
        for prefix in _names(place, _PREFIX)
        for name in _names(place / prefix, _FILE)
        if name.startswith(prefix)
    }


def _names(folder: Path, pattern: re.Pattern[str]) -> list[str]:
    try:
        with os.scandir(folder) as entries:  # a Path each costs ten times as much
            return [entry.name for entry in entries if pattern.fullmatch(entry.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def carry_labels(source: Path, root: Path, reference: str) -> tuple[int, int]:
    """Copy the labels of one reference from another campaign's folder, as labels that cost nothing here.

    Parameters
    ----------
    source, root
        The folder they are in, and the one they go to; what is there already stays.
    reference
        Hash of the reference: labels of others are left where they are.

    Returns
    -------
    tuple of int
        How many labels of that reference `source` has, and how many of others.

    Raises
    ------
    InputError
        Where `source` has no labels, or none of that reference.
    StateError
        Where one of them is damaged.
    """
    paths = list(label_files(source))
    if not paths:
        raise InputError(f"{source}: holds no labels. Name the folder of a campaign that has some.")
    wanted = [path for path in paths if path.stem.rpartition("-")[2] == reference]
    if not wanted:
        others = ", ".join(sorted({path.stem.rpartition("-")[2] for path in paths}))
        raise InputError(
            f"{source}: its {len(paths)} labels are of reference {others}, this campaign's is {reference}: labels of "
            "different methods never train one model."
        )
    for path in wanted:
        label = read_label(path)
        if find_label(root, label.structure, label.reference) is None:
            spent: dict[str, Any] = {key: label.details[key] for key in ("seconds", "core_s") if key in label.details}
            carried: dict[str, Any] = {"from": str(source), **spent}
            details = label.details | {"seconds": 0.0, "core_s": 0.0, "carried": carried}
            write_label(root, replace(label, details=details))
    return len(wanted), len(paths) - len(wanted)


def quarantine(
    root: Path, name: str, reason: str, message: str, atoms: Atoms, output: dict[str, bytes] | None = None
) -> Path:
    """Keep what failed in `root`/quarantine/`name`: reason.json, the structure, and the code's own output."""
    _must_exist(root)
    folder = root / "quarantine" / name
    for place in (folder.parent, folder):
        _make_inside(place)
    for file, data in (output or {}).items():
        atomic_write(folder / Path(file).name, data)
    write_frames(folder / "structure.xyz", bare(atoms))
    write_json(folder / "reason.json", {"version": 1, "name": name, "reason": reason, "message": message})
    return folder


def quarantined(root: Path) -> Iterator[tuple[str, str]]:
    """Name and reason of everything in quarantine, in the order of names."""
    for path in sorted((root / "quarantine").glob("*/reason.json")):
        yield path.parent.name, str(read_json(path)["reason"])


def release(root: Path, name: str) -> None:
    """Take a label out of quarantine: it has not been tried then."""
    folder = root / "quarantine" / name
    (folder / "reason.json").unlink(missing_ok=True)  # first: without it the rest says nothing
    shutil.rmtree(folder, ignore_errors=True)


def _make_inside(folder: Path) -> None:
    """Make `folder`, and not the one above it: a campaign folder that is removed at this moment does not come back."""
    if not folder.is_dir():
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def _must_exist(root: Path) -> None:
    if not root.is_dir():
        raise FileNotFoundError(errno.ENOENT, "the folder of the labels was moved or removed", str(root))


def _array(values: Any) -> FloatArray:
    return np.asarray(values, dtype=np.float64)
