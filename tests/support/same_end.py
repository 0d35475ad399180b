"""Whether two campaigns came to the same end: what a folder holds, bit for bit, less what clocks and names of machines
leave in it. Reads the files themselves (JSON, HDF5) and nothing of the engine."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

LATER = ("snapshots/p95_force_std", "snapshots/before_mishap")
"""Parts of a walker's file that are newer than format version 1's first folders."""

TIMED = ("details", "checksum", "version")
"""Keys of a label that are not its physics."""


def manifest(folder: Path) -> dict[str, str]:
    """16 hex digits of a SHA-256 for each thing that a campaign made: `path` of a file, or `path#key` of a part of it.

    Labels without their times, batches, outcomes and errors of the rounds, weights and training sets of the members,
    walkers and snapshots with their scores, failures, and the verdict.
    """
    return dict(sorted(_things(folder)))


def differing(now: dict[str, str], before: dict[str, str]) -> list[str]:
    """What of `before` is missing or other `now`, and files that were not there. Files of `now` may have new keys."""
    files = {name.partition("#")[0] for name in before}
    added = {name for name in now if name.partition("#")[0] not in files}
    return sorted(added | {name for name in before if now.get(name) != before[name]})


def machine() -> dict[str, str]:
    """What the last bits of a campaign depend on: the processor, and the libraries that compute on it."""
    libraries = ("ase", "h5py", "mace-torch", "e3nn", "matscipy", "numba", "numpy", "scipy", "torch")
    versions = {name: importlib.metadata.version(name) for name in libraries}
    return {"python": ".".join(map(str, sys.version_info[:2])), "processor": _processor(), **versions}


def _processor() -> str:
    """Model and a hash of the instructions it has: by these the libraries choose their code."""
    wanted = {"model name": platform.processor(), "cpu family": "", "model": "", "flags": ""}
    path = Path("/proc/cpuinfo")
    for line in path.read_text().splitlines() if path.exists() else []:
        key, _, value = line.partition(":")
        if key.strip() in wanted:
            wanted[key.strip()] = value.strip()
    flags = " ".join(sorted(wanted.pop("flags").split()))
    return " ".join([platform.machine(), *wanted.values(), hashlib.sha256(flags.encode()).hexdigest()[:16]])


def _things(folder: Path) -> Iterator[tuple[str, str]]:
    for path in folder.glob("labels/*/*.json"):
        content = json.loads(path.read_text())
        yield _name(path, folder), _hash({key: content[key] for key in content if key not in TIMED})
    for pattern in ("rounds/*/*.json", "quarantine/*/reason.json", "verdict.json"):
        for path in folder.glob(pattern):
            yield from _parts(_name(path, folder), json.loads(path.read_text()))
    for pattern in ("models/*/*.safetensors", "models/*/*.extxyz", "quarantine/*/structure.xyz"):
        for path in folder.glob(pattern):
            yield _name(path, folder), hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    for path in folder.glob("snapshots/*.h5"):
        yield _name(path, folder), _shard(path)


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _parts(name: str, content: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in content.items():
        if key == "facts":
            yield from _parts(f"{name}#facts", value)
        elif key not in ("checksum", "version", "criteria"):
            yield f"{name}#{key}" if "#" not in name else f"{name}.{key}", _hash(value)


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _shard(path: Path) -> str:
    """Names, types and values of all that is in a walker's file, less the seconds it took."""
    digest = hashlib.sha256()

    def add(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if name in LATER:
            return
        for key in sorted(set(item.attrs) - {"seconds", "version"}):
            digest.update(f"{name}@{key}={item.attrs[key]!s}".encode())
        if isinstance(item, h5py.Dataset):
            values = np.ascontiguousarray(item[()])
            digest.update(f"{name} {values.dtype.str} {values.shape}".encode() + values.tobytes())

    with h5py.File(path, "r") as file:
        add("", file)
        file.visititems(add)
    return digest.hexdigest()[:16]
