"""A pool: named columns of equal length, one row per material, and structures where there are any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from tentpole.errors import InputError, unknown
from tentpole.records import FloatArray

Column = NDArray[Any]  # float64, or str objects

# What other tables call these columns. The first name found is used; the old name goes.
ALIASES = {
    "formula": ("red", "reduced_formula", "formula_pretty", "composition", "name", "chemical_formula_reduced"),
    "formation_energy_per_atom": ("delta_e", "_oqmd_delta_e", "formation_energy", "e_form"),
    "band_gap": ("_oqmd_band_gap", "gap", "bandgap"),
    "energy_above_hull": ("stability", "_oqmd_stability", "e_hull", "e_hull_any_polymorph"),
    "nsites": ("natoms", "num_sites"),
    "total_magnetization": ("total_magnetization_any",),
    "id": ("material_id", "entry_id", "task_id"),
}
TEXT = ("id", "formula", "database", "version", "date", "query")


@dataclass(frozen=True)
class Pool:
    """Columns by name, float64 (missing: NaN) or text (missing: ""), and one Atoms or None per row.

    Provenance columns are `database`, `version`, `date` and `query`; `id` names the row in its database.
    Energies are in eV per atom, gaps in eV, volumes in Å³ per atom, densities in g/cm³, moments in μB.
    """

    columns: Mapping[str, Column]
    structures: tuple[Atoms | None, ...] | None = None
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        lengths = {len(column) for column in self.columns.values()}
        if self.structures is not None:
            lengths.add(len(self.structures))
        if len(lengths) > 1:
            raise InputError(f"columns of a pool have one length, these have {sorted(lengths)}.")

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    @property
    def numeric_names(self) -> list[str]:
        """The names of the columns of numbers."""
        return [name for name, column in self.columns.items() if column.dtype.kind == "f"]

    def numeric(self, name: str) -> FloatArray:
        """The column `name` as float64. Raises InputError where it is missing or is text."""
        if name not in self.columns:
            raise unknown("column", name, self.columns)
        column = self.columns[name]
        if column.dtype.kind != "f":
            seen = ", ".join(f'"{value}"' for value in column[:3])
            raise InputError(
                f'column "{name}" is text ({seen} …), a number is needed. '
                f"Numeric columns: {', '.join(self.numeric_names) or 'none'}."
            )
        return np.asarray(column, dtype=np.float64)

    def text(self, name: str) -> list[str]:
        """The column `name` as text. Raises InputError where it is missing."""
        if name not in self.columns:
            raise unknown("column", name, self.columns)
        return [str(value) for value in self.columns[name]]

    def take(self, rows: Sequence[int] | NDArray[Any]) -> Pool:
        """The rows of these indices, or where a mask is true, in that order."""
        index = np.asarray(rows)
        index = np.flatnonzero(index) if index.dtype == bool else index.astype(int)
        structures = None if self.structures is None else tuple(self.structures[i] for i in index)
        return Pool({name: column[index] for name, column in self.columns.items()}, structures, self.notes)

    def with_column(self, name: str, values: Sequence[Any] | NDArray[Any]) -> Pool:
        """The pool with one column more, or another one of that name."""
        return Pool({**self.columns, name: as_column(name, values)}, self.structures, self.notes)


def as_column(name: str, values: Sequence[Any] | NDArray[Any]) -> Column:
    """float64 where every value that is there is a number; text otherwise, and for the text columns."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "fiub" and name not in TEXT:
        return values.astype(np.float64)
    missing = ("", "none", "null", "na", "n/a", "nan")
    if name not in TEXT:
        try:
            numbers = [np.nan if v is None or str(v).strip().lower() in missing else float(v) for v in values]
        except (TypeError, ValueError):
            pass
        else:
            return np.array(numbers, dtype=np.float64)
    return np.array(["" if v is None else str(v) for v in values], dtype=object)


def build(columns: Mapping[str, Sequence[Any]], structures: Sequence[Atoms | None] | None = None) -> Pool:
    """A pool from raw columns: types are found, other tables' names are translated.

    A band gap given as `band_gap_min`, `band_gap_max` and `n_gap` (several entries of one composition) is
    taken only where `n_gap` is 1: elsewhere it is not the gap of this row.
    """
    names = {name: name for name in columns}
    for key, others in ALIASES.items():
        other = next((name for name in others if name in columns), None)
        if key not in columns and other is not None:
            names[other] = key
    named: dict[str, Column] = {}
    for name, values in columns.items():
        named[names[name]] = as_column(names[name], values)
    if "band_gap" not in named and {"band_gap_min", "n_gap"} <= named.keys():
        named["band_gap"] = np.where(named["n_gap"] == 1, named["band_gap_min"], np.nan)
    if "formula" in columns:
        named.pop("red", None)
    for helper in ("band_gap_min", "band_gap_max", "n_gap"):
        if "band_gap" in named:
            named.pop(helper, None)
    kept = None if structures is None or all(s is None for s in structures) else tuple(structures)
    if kept is not None and "formula" not in named:
        named["formula"] = as_column("formula", [s.get_chemical_formula() if s else "" for s in kept])
    return Pool(named, kept)


def concatenate(pools: Sequence[Pool]) -> Pool:
    """All rows of `pools`; a column that one of them lacks is missing there."""
    names = list(dict.fromkeys(name for pool in pools for name in pool.columns))
    columns: dict[str, Column] = {}
    for name in names:
        parts = [p.columns.get(name) for p in pools]
        text = any(part is not None and part.dtype.kind != "f" for part in parts)
        filler: Any = "" if text else np.nan
        values = [
            np.full(len(pool), filler, dtype=object if text else np.float64) if part is None else part
            for pool, part in zip(pools, parts, strict=True)
        ]
        columns[name] = np.concatenate(values) if values else np.empty(0)
    structures: tuple[Atoms | None, ...] | None = None
    if any(pool.structures is not None for pool in pools):
        structures = tuple(s for pool in pools for s in (pool.structures or (None,) * len(pool)))
    return Pool(columns, structures, tuple(note for pool in pools for note in pool.notes))
