"""Explorations in HDF5: a walker's snapshots with scores, and the walker itself to go on from.

The first 512 bytes of a file (HDF5's user block) hold the SHA-256 of the rest, so that a torn or
flipped file is refused by name instead of being half read.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ase import Atoms
from ase.constraints import dict2constraint

from tentpole.errors import StateError
from tentpole.exploration.explore import Exploration, Mishap
from tentpole.records import (
    CHARGE,
    MOMENTS,
    MULTIPLICITY,
    Condition,
    FloatArray,
    Scores,
    Snapshot,
    Walker,
    bare,
    moments_of,
    own_state,
    snapshot_id,
)
from tentpole.storage.atomic import atomic_write

VERSION = 1
_BLOCK = 512
_MAGIC = b"tentpole-exploration "
_NUMBERS = [field.name for field in fields(Scores) if field.name not in ("failed", "p95_force_std")]


def write_exploration(path: Path, exploration: Exploration) -> None:
    """Write it whole, with its checksum, atomically."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=_BLOCK) as file:
        _write(file, exploration)
    data = buffer.getvalue()
    digest = hashlib.sha256(data[_BLOCK:]).hexdigest().encode()
    atomic_write(path, (_MAGIC + digest).ljust(_BLOCK, b"\0") + data[_BLOCK:])


def read_exploration(path: Path) -> Exploration:
    """What `write_exploration` wrote. Raises StateError, naming the file, where it is damaged."""
    data = path.read_bytes()
    digest = hashlib.sha256(data[_BLOCK:]).hexdigest().encode()
    if data[:_BLOCK].rstrip(b"\0") != _MAGIC + digest:
        raise StateError(
            f"{path}: damaged, its checksum does not match. Restore it from a copy, or delete it: "
            "the walker's round is then run again, with the same result."
        )
    with h5py.File(io.BytesIO(data), "r") as file:
        if file.attrs["version"] != VERSION:
            raise StateError(
                f"{path}: format {file.attrs['version']}, this Tentpole reads {VERSION}. "
                "Use the version of Tentpole that wrote it."
            )
        return _read(file)


def _write(file: h5py.File, exploration: Exploration) -> None:
    walker = exploration.walker
    file.attrs["version"] = VERSION
    file.attrs["round"] = exploration.round
    file.attrs["done"] = exploration.done
    file.attrs["seconds"] = [exploration.md_seconds, exploration.scoring_seconds]
    file.attrs["mishaps"] = json.dumps([astuple(m) for m in exploration.mishaps])
    file.attrs["walker"] = json.dumps(
        {
            "id": walker.id,
            "condition": list(walker.condition.to_json().values()),
            "step": walker.step,
            "rng": walker.rng,
            "ring": [[step, rng] for step, _, rng in walker.ring],
            "bias_strength": walker.bias_strength,
            "constraints": [constraint.todict() for constraint in walker.atoms.constraints],
            **({"barostat": walker.barostat} if walker.barostat else {}),
            **({} if walker.memory is None else {"memory": walker.memory}),
        },
        default=np.ndarray.tolist,
    )
    for name, frames in (
        ("walker_frames", [walker.atoms, *(atoms for _, atoms, _ in walker.ring)]),
        ("snapshots", [snapshot.atoms for snapshot in exploration.snapshots]),
    ):
        _write_frames(file.create_group(name), frames, walker.atoms)
    group = file["snapshots"]
    group["step"] = np.array([snapshot.step for snapshot in exploration.snapshots], dtype="i8")
    for name in _NUMBERS:
        group[name] = np.array([getattr(s, name) for s in exploration.scores], dtype="f8")
    p95 = [math.nan if s.p95_force_std is None else s.p95_force_std for s in exploration.scores]
    group["p95_force_std"] = np.array(p95, dtype="f8")
    group["before_mishap"] = np.array([snapshot.before_mishap for snapshot in exploration.snapshots], dtype=bool)
    group.attrs["failed"] = json.dumps([s.failed for s in exploration.scores])


def _write_frames(group: h5py.Group, frames: list[Atoms], like: Atoms) -> None:
    group["numbers"] = like.numbers
    group["pbc"] = like.pbc
    group["masses"] = like.get_masses()
    moments = moments_of(like)
    if moments is not None:
        group[MOMENTS] = moments
    for key, value in zip((CHARGE, MULTIPLICITY), own_state(like), strict=True):
        if value is not None:
            group.attrs[key] = value
    shape = (len(frames), len(like), 3)
    group["positions"] = np.array([a.positions for a in frames], dtype="f8").reshape(shape)
    group["momenta"] = np.array([a.get_momenta() for a in frames], dtype="f8").reshape(shape)
    group["cell"] = np.array([a.cell.array for a in frames], dtype="f8").reshape(len(frames), 3, 3)


def _read_frames(group: h5py.Group) -> list[Atoms]:
    numbers, pbc, masses = (group[name][:] for name in ("numbers", "pbc", "masses"))
    moments = group[MOMENTS][:] if MOMENTS in group else None
    state = {key: int(group.attrs[key]) for key in (CHARGE, MULTIPLICITY) if key in group.attrs}
    moving = (group[name][:] for name in ("positions", "momenta", "cell"))
    frames = []
    for positions, momenta, cell in zip(*moving, strict=True):
        atoms = Atoms(numbers=numbers, positions=positions, cell=cell, pbc=pbc, masses=masses, magmoms=moments)
        atoms.info |= state
        atoms.set_momenta(momenta)
        frames.append(atoms)
    return frames


def _read(file: h5py.File) -> Exploration:
    facts: dict[str, Any] = json.loads(file.attrs["walker"])
    condition = Condition(*facts["condition"])
    moving = _read_frames(file["walker_frames"])
    for atoms in moving:
        atoms.set_constraint([dict2constraint(constraint) for constraint in facts["constraints"]])
    walker = Walker(
        id=facts["id"],
        condition=condition,
        atoms=moving[0],
        step=facts["step"],
        rng=facts["rng"],
        ring=tuple((step, atoms, rng) for (step, rng), atoms in zip(facts["ring"], moving[1:], strict=True)),
        bias_strength=facts["bias_strength"],
        barostat=tuple(facts.get("barostat", ())),
        memory=facts.get("memory"),
    )
    number, group = int(file.attrs["round"]), file["snapshots"]
    steps: list[int] = group["step"][:].tolist()
    # shards from before these two were kept have neither
    flagged: list[bool] = group["before_mishap"][:].tolist() if "before_mishap" in group else [False] * len(steps)
    p95: list[float] = group["p95_force_std"][:].tolist() if "p95_force_std" in group else [math.nan] * len(steps)
    snapshots = tuple(
        Snapshot(snapshot_id(number, walker.id, step), bare(atoms), condition, walker.id, number, step, last)
        for step, atoms, last in zip(steps, _read_frames(group), flagged, strict=True)
    )
    columns: list[FloatArray] = [group[name][:] for name in _NUMBERS]
    failed = json.loads(group.attrs["failed"])
    scores = tuple(
        Scores(
            **{n: float(c[i]) for n, c in zip(_NUMBERS, columns, strict=True)},
            failed=failed[i],
            p95_force_std=None if math.isnan(p95[i]) else p95[i],
        )
        for i in range(len(snapshots))
    )
    md_seconds, scoring_seconds = (float(x) for x in file.attrs["seconds"])
    return Exploration(
        round=number,
        walker=walker,
        done=int(file.attrs["done"]),
        snapshots=snapshots,
        scores=scores,
        mishaps=tuple(Mishap(*m) for m in json.loads(file.attrs["mishaps"])),
        md_seconds=md_seconds,
        scoring_seconds=scoring_seconds,
    )
