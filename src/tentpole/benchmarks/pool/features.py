"""Descriptors of a pool's rows: the study's 17, named one by one, and what else a table offers.

Source of the list: arXiv:2601.06916 uses "17 descriptors, 8 from composition and 9 from properties". Its text
does not name each of them where we could read it, so the two lists below are our reading: the statistics of
atomic number, mass and electronegativity, and the properties both databases give.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.data import atomic_masses, atomic_numbers
from numpy.typing import NDArray

from tentpole.benchmarks.pool.composition import ELECTRONEGATIVITY, elements, fractions
from tentpole.benchmarks.pool.table import TEXT, Pool
from tentpole.errors import InputError, unknown
from tentpole.records import FloatArray

COMPOSITION = (
    "mean_atomic_number",
    "std_atomic_number",
    "range_atomic_number",
    "mean_atomic_mass",
    "std_atomic_mass",
    "mean_electronegativity",
    "std_electronegativity",
    "range_electronegativity",
)
PROPERTIES = (
    "energy_per_atom",
    "energy_above_hull",
    "band_gap",
    "is_metal",
    "density",
    "volume_per_atom",
    "nsites",
    "n_elements",
    "total_magnetization",
)
# A property is computed from the target, or the target from it and the composition: with it as an input the
# model reads the answer instead of learning it.
LEAKS = {
    "formation_energy_per_atom": ("energy_per_atom", "energy_above_hull", "uncorrected_energy_per_atom"),
    "energy_per_atom": ("formation_energy_per_atom", "energy_above_hull", "uncorrected_energy_per_atom"),
    "energy_above_hull": ("energy_per_atom", "formation_energy_per_atom", "uncorrected_energy_per_atom"),
    "band_gap": ("is_metal",),
}
SETS = ("leak-free", "paper", "composition", "gom", "columns")
GOM_COMPONENTS = 10
NOT_DESCRIPTORS = TEXT
"""Columns that name a row rather than describe it."""


@dataclass(frozen=True)
class Features:
    """Descriptors (n, d) of the rows `rows` of a pool, their names, what was left out and why."""

    values: FloatArray
    names: tuple[str, ...]
    rows: NDArray[np.int64]
    notes: tuple[str, ...]


def composition_statistics(formula: str) -> list[float]:
    """The eight of COMPOSITION: mean and standard deviation weighted by atomic fraction, and the range.

    mean = Σ x_e p_e, std = sqrt(Σ x_e (p_e − mean)²), range = max p_e − min p_e over the elements e of the
    formula. NaN where an element (He, Ne, Ar) has no Pauling electronegativity.
    """
    parts = fractions(formula)
    x = np.array(list(parts.values()))
    statistics: list[float] = []
    for name, values in (
        ("number", [float(atomic_numbers[e]) for e in parts]),
        ("mass", [float(atomic_masses[atomic_numbers[e]]) for e in parts]),
        ("electronegativity", [ELECTRONEGATIVITY.get(e, np.nan) for e in parts]),
    ):
        p = np.array(values)
        mean = float(x @ p)
        statistics += [mean, float(np.sqrt(max(float(x @ (p - mean) ** 2), 0.0)))]
        if name != "mass":
            statistics.append(max(values) - min(values) if np.isfinite(mean) else np.nan)
    return statistics


def properties(pool: Pool) -> dict[str, FloatArray]:
    """Those of PROPERTIES that the pool gives or that follow from what it gives."""
    columns = {name: pool.numeric(name) for name in PROPERTIES if name in pool}
    if "band_gap" in columns:
        gap = columns["band_gap"]
        columns["is_metal"] = np.where(np.isfinite(gap), gap <= 0, np.nan)
    columns["n_elements"] = np.array([float(len(elements(f))) for f in pool.text("formula")])
    if pool.structures is not None:
        known = [s if s is not None and s.cell.rank == 3 else None for s in pool.structures]
        per_atom = np.array([s.get_volume() / len(s) if s is not None else np.nan for s in known])
        density = np.array(
            [s.get_masses().sum() / s.get_volume() * 1.66053907 if s is not None else np.nan for s in known]
        )
        columns.setdefault("volume_per_atom", per_atom)
        columns.setdefault("density", density)
        columns.setdefault("nsites", np.array([float(len(s)) if s is not None else np.nan for s in pool.structures]))
    return {name: columns[name] for name in PROPERTIES if name in columns}


def gom_statistics(pool: Pool, cutoff: float = 5.0) -> tuple[list[str], FloatArray]:
    """Mean and standard deviation over the atoms of the largest GOM eigenvalues, 2 × GOM_COMPONENTS columns.

    Rows without a structure are NaN. Raises InputError where no row has one.
    """
    from tentpole.entropy import GOM

    if pool.structures is None:
        raise InputError("gom features need structures, and this pool has none. Legal here: leak-free, paper.")
    gom = GOM(cutoff)
    names = [f"gom_{s}_{i}" for s in ("mean", "std") for i in range(GOM_COMPONENTS)]
    rows = np.full((len(pool), len(names)), np.nan)
    for i, atoms in enumerate(pool.structures):
        if atoms is not None:
            q = np.asarray(gom.fingerprints(atoms))[:, :GOM_COMPONENTS]
            rows[i] = np.concatenate([q.mean(axis=0), q.std(axis=0)])
    return names, rows


def describe(pool: Pool, target: str, sets: str = "leak-free", max_missing: float | None = None) -> Features:
    """The descriptors `sets` ("leak-free", or several joined by "+": "leak-free+gom") for learning `target`.

    `leak-free`: COMPOSITION and PROPERTIES without the target and without what contains it (LEAKS).
    `paper`: the study's, all of them but the target itself. `composition`: the eight alone. `gom`: GOM
    statistics of the structure. `columns`: every numeric column of the table except the target and LEAKS.

    A descriptor the table lacks, that is missing in more than `max_missing` of the rows (0.2; with `paper`,
    which wants its descriptors more than its rows, 0.75), or that never changes is left out; then rows in
    which one is missing. Both are told in `notes`, and so are columns of the table that no set asked for.
    Raises InputError for an unknown set or where no descriptor is left.
    """
    asked = [word.strip() for word in sets.split("+")]
    for word in asked:
        if word not in SETS:
            raise unknown("feature set", word, SETS)
    if "formula" not in pool and set(asked) != {"columns"}:
        raise InputError(
            f'features "{sets}" need a column with formulas ("formula"), and there is none: use "columns". '
            f"Columns: {', '.join(pool.columns)}."
        )
    limit = max_missing if max_missing is not None else 0.75 if "paper" in asked else 0.2
    table, absent = _asked_for(pool, target, set(asked))
    kept, unusable = _usable(table, limit)
    left_out = absent + unusable
    if not kept:
        raise InputError(f'features "{sets}": no descriptor is left ({"; ".join(left_out) or "the table has none"}).')
    values = np.stack(list(kept.values()), axis=1)
    complete = np.isfinite(values).all(axis=1)
    notes = [f"{len(kept)} descriptors: {', '.join(kept)}"]
    if left_out:
        notes.append(f"left out: {'; '.join(left_out)}")
    notes += _not_asked_for(pool, target, table)
    if not complete.all():
        notes.append(f"{int((~complete).sum())} of {len(pool)} rows lack a descriptor and are left out")
    return Features(values[complete], tuple(kept), np.flatnonzero(complete), tuple(notes))


def _asked_for(pool: Pool, target: str, asked: set[str]) -> tuple[dict[str, FloatArray], list[str]]:
    """The columns of the sets that were asked for, and which of them the table lacks."""
    leaking = {target, *LEAKS.get(target, ())}
    table: dict[str, FloatArray] = {}
    absent: list[str] = []
    if {"leak-free", "paper", "composition"} & asked:
        statistics = np.array([composition_statistics(f) for f in pool.text("formula")])
        table.update(zip(COMPOSITION, statistics.T, strict=True))
    if {"leak-free", "paper"} & asked:
        there = properties(pool)
        wanted = [p for p in PROPERTIES if p != target and ("paper" in asked or p not in leaking)]
        absent += [f"{p} (not in the table)" for p in wanted if p not in there]
        table.update({p: there[p] for p in wanted if p in there})
    if "columns" in asked:
        table.update({c: pool.numeric(c) for c in pool.numeric_names if c not in leaking})
    if "gom" in asked:
        names, rows = gom_statistics(pool)
        table.update(zip(names, rows.T, strict=True))
    return table, absent


def _usable(table: dict[str, FloatArray], limit: float) -> tuple[dict[str, FloatArray], list[str]]:
    """The columns that change and are there in enough rows, and why the others are left out."""
    kept: dict[str, FloatArray] = {}
    left_out: list[str] = []
    for name, column in table.items():
        there = np.isfinite(column)
        share = 1 - there.mean() if len(column) else 1.0
        if share > limit:
            left_out.append(f"{name} (missing in {100 * share:.0f} % of rows)")
        elif np.ptp(column[there]) == 0:
            left_out.append(f"{name} (constant)")
        else:
            kept[name] = column
    return kept, left_out


def _not_asked_for(pool: Pool, target: str, table: dict[str, FloatArray]) -> list[str]:
    """Notes on the table's own columns that no set took: numeric ones can be asked for, text cannot."""
    leaking = {target, *LEAKS.get(target, ())}
    others = [c for c in pool.columns if c not in table and c not in leaking and c not in NOT_DESCRIPTORS]
    numeric = [c for c in others if c in pool.numeric_names]
    text = [c for c in others if c not in pool.numeric_names]
    notes = []
    if numeric:
        notes.append(f"columns of the table not used: {', '.join(numeric)}; add them by --features leak-free+columns")
    if text:
        notes.append(f"columns of text, which no descriptor is made of: {', '.join(text)}")
    return notes


def suspicious(inputs: FloatArray, names: list[str], target: FloatArray, limit: float = 0.95) -> list[str]:
    """Descriptors whose linear correlation with the target exceeds `limit` in magnitude: they may contain it."""
    doubtful = []
    for name, column in zip(names, inputs.T, strict=True):
        r = float(np.corrcoef(column, target)[0, 1]) if np.ptp(column) > 0 else 0.0
        if abs(r) > limit:
            doubtful.append(f"{name} (r = {r:+.3f})")
    return doubtful
