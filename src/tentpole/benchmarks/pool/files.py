"""Pools in files: HDF5 (whole), csv, json, extended XYZ, and pymatgen entries; .gz of the text formats."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from tentpole.benchmarks.pool.table import Pool, as_column, build
from tentpole.errors import InputError, reading, unknown

VERSION = 1
TEXT_LIMIT = 512 * 2**20
"""Bytes of a text file, unpacked, that are read: 2 MB of zeros in gzip unpack to 2 GB."""


def suffix(path: Path) -> str:
    """The format a file's name states: ".csv" of x.csv and of x.csv.gz."""
    parts = [part.lower() for part in path.suffixes]
    return parts[-2] if len(parts) > 1 and parts[-1] == ".gz" else (parts[-1] if parts else "")


def read(path: Path) -> Pool:
    """The pool in `path`, by the ending of its name.

    csv: a header line, one row per material; the formula NaN is sodium nitride, never a missing value.
    json: a list of rows, a mapping of columns, or a list of pymatgen entries with structures.
    extxyz: frames; `info` gives the columns. Text that would unpack to more than TEXT_LIMIT is refused.

    Raises InputError, naming the file and what is wrong with it, for what cannot be read.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such file. Give a pool as {', '.join(READERS)} (or .gz of text).")
    ending = suffix(path)
    if ending not in READERS:
        raise unknown("file ending", ending or path.name, READERS, str(path))
    try:
        with reading(path, ending[1:]):
            pool = READERS[ending](path)
    except InputError as error:  # of a part that does not know the file
        raise error if str(path) in str(error) else InputError(f"{path}: {error}") from None
    if len(pool) == 0:
        raise InputError(f"{path}: holds no rows.")
    return pool


def write(pool: Pool, path: Path) -> None:
    """Write `pool` as .h5 (whole, with structures), .csv or .csv.gz (columns only), whole or not at all."""
    ending = suffix(path)
    if ending not in WRITERS:
        raise unknown("file ending", ending or path.name, WRITERS, str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        WRITERS[ending](pool, beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _text(path: Path) -> str:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    with gzip.open(path, "rb") if packed else path.open("rb") as file:
        raw = file.read(TEXT_LIMIT + 1)
    if len(raw) > TEXT_LIMIT:
        raise InputError(f"{path}: holds more than {TEXT_LIMIT / 2**20:.0f} MiB of text. Give a part of it, or an .h5.")
    if b"\0" in raw and raw[:2] not in (b"\xff\xfe", b"\xfe\xff"):  # those of UTF-16 are told by the decoder
        raise InputError(f"{path}: holds NUL bytes: that is no text, or a damaged file.")
    return raw.decode("utf-8-sig")


def _read_csv(path: Path) -> Pool:
    rows = list(csv.reader(io.StringIO(_text(path), newline="")))
    header, body = (rows[0], [row for row in rows[1:] if row]) if rows else ([], [])
    ragged = next((i for i, row in enumerate(body, 2) if len(row) != len(header)), None)
    if ragged is not None:
        raise InputError(
            f"{path}, line {ragged}: {len(body[ragged - 2])} values, the header names {len(header)} columns."
        )
    if len(set(header)) < len(header):
        raise InputError(f"{path}: the header names a column twice ({', '.join(header)}).")
    return build({name: [row[i] for row in body] for i, name in enumerate(header)})


def _read_json(path: Path) -> Pool:
    content = json.loads(_text(path))
    if isinstance(content, dict) and isinstance(content.get("data"), list):
        content = content["data"]
    if isinstance(content, dict):
        return build(content)
    if content and "structure" in content[0]:
        return _entries(content)
    names = dict.fromkeys(name for row in content for name in row)
    return build({name: [row.get(name) for row in content] for name in names})


def _entries(rows: list[dict[str, Any]]) -> Pool:
    """Entries of pymatgen or Materials Project documents: numbers and words as columns, the structure as Atoms."""
    structures = [structure_from_dict(row["structure"]) for row in rows]
    columns: dict[str, list[Any]] = {}
    for i, row in enumerate(rows):
        flat = {**row, **(row.get("data") or {})}
        if "energy" in row and "energy_per_atom" not in flat and structures[i] is not None:
            total = float(row["energy"]) + float(row.get("correction") or 0.0)
            flat["energy_per_atom"] = total / len(structures[i] or ())
        for name, value in flat.items():
            if isinstance(value, str | int | float) and not name.startswith(("@", "_")):
                columns.setdefault(name, [None] * len(rows))[i] = value
    columns["formula"] = [s.get_chemical_formula() if s else "" for s in structures]
    for name in ("formula_pretty", "composition", "energy", "entry_id" if "material_id" in columns else ""):
        columns.pop(name, None)
    return build(columns, structures)


def structure_from_dict(content: dict[str, Any] | None) -> Atoms | None:
    """Atoms of a pymatgen Structure's dict; None where there is none or a site is partly occupied."""
    if not content:
        return None
    symbols, scaled = [], []
    for site in content["sites"]:
        species = site["species"]
        if len(species) != 1 or abs(float(species[0]["occu"]) - 1) > 1e-3:
            return None
        symbols.append(species[0]["element"])
        scaled.append(site["abc"])
    return Atoms(symbols, scaled_positions=scaled, cell=content["lattice"]["matrix"], pbc=True)


def _read_extxyz(path: Path) -> Pool:
    from ase.io import read as ase_read

    frames = ase_read(io.StringIO(_text(path)), index=":", format="extxyz")
    columns: dict[str, list[Any]] = {}
    for i, atoms in enumerate(frames):
        single = {}
        if atoms.calc is not None and "energy" in atoms.calc.results:
            single["energy_per_atom"] = atoms.calc.results["energy"] / len(atoms)
        for name, value in {**single, **atoms.info}.items():
            if np.ndim(value) == 0:
                columns.setdefault(name, [None] * len(frames))[i] = value
    columns.setdefault("formula", [atoms.get_chemical_formula() for atoms in frames])
    bare = [Atoms(a.numbers, positions=a.positions, cell=a.cell, pbc=a.pbc) for a in frames]
    return build(columns, bare)


def _read_hdf5(path: Path) -> Pool:
    import h5py

    with h5py.File(path, "r") as file:
        if file.attrs.get("format") != "tentpole-pool":
            raise InputError(f"{path}: is no pool of Tentpole's. Make one by `tentpole pool fetch`.")
        if int(file.attrs["version"]) > VERSION:
            raise InputError(
                f"{path}: format version {file.attrs['version']}, this Tentpole reads up to {VERSION}. Upgrade it."
            )
        columns = {}
        for name in json.loads(file.attrs["columns"]):
            data = file["columns"][name]
            columns[name] = as_column(name, data.asstr()[()] if data.dtype.kind == "O" else data[()])
        structures: list[Atoms | None] | None = None
        if "structures" in file:
            group = file["structures"]
            counts, cells, pbc = group["counts"][()], group["cells"][()], group["pbc"][()]
            numbers, positions = group["numbers"][()], group["positions"][()]
            ends = np.cumsum(counts)
            structures = [
                Atoms(numbers[e - n : e], positions=positions[e - n : e], cell=cell, pbc=periodic) if n else None
                for n, e, cell, periodic in zip(counts, ends, cells, pbc, strict=True)
            ]
        notes = tuple(json.loads(file.attrs["notes"]))
    return Pool(columns, None if structures is None else tuple(structures), notes)


def _write_hdf5(pool: Pool, path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs.update(
            format="tentpole-pool",
            version=VERSION,
            columns=json.dumps(list(pool.columns)),
            notes=json.dumps(pool.notes),
        )
        group = file.create_group("columns")
        for name, column in pool.columns.items():
            text = column.dtype.kind == "O"
            group.create_dataset(name, data=column, dtype=h5py.string_dtype() if text else np.float64)
        if pool.structures is None:
            return
        known = [s if s is not None else Atoms() for s in pool.structures]
        group = file.create_group("structures")
        group["counts"] = np.array([len(s) for s in known])
        group["cells"] = np.array([s.cell.array for s in known]).reshape(-1, 3, 3)
        group["pbc"] = np.array([s.pbc for s in known]).reshape(-1, 3)
        group["numbers"] = np.concatenate([s.numbers for s in known])
        group["positions"] = np.concatenate([s.positions for s in known]).reshape(-1, 3)


def harmless(value: Any) -> Any:
    """The cell `value` as a spreadsheet shows it and does not run it.

    Text that begins like a formula gets an apostrophe before it, as OWASP advises. Numbers, as such or as text, stay
    what they are.
    """
    if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def _write_csv(pool: Pool, path: Path) -> None:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([harmless(name) for name in pool.columns])
    for row in zip(*pool.columns.values(), strict=True):
        writer.writerow(["" if isinstance(v, float) and np.isnan(v) else harmless(v) for v in row])
    content = out.getvalue().encode()
    path.write_bytes(gzip.compress(content, mtime=0) if ".gz" in path.name else content)


READERS: dict[str, Callable[[Path], Pool]] = {
    ".csv": _read_csv,
    ".json": _read_json,
    ".xyz": _read_extxyz,
    ".extxyz": _read_extxyz,
    ".h5": _read_hdf5,
    ".hdf5": _read_hdf5,
}
WRITERS: dict[str, Callable[[Pool, Path], None]] = {".h5": _write_hdf5, ".hdf5": _write_hdf5, ".csv": _write_csv}
