"""The study's filters, each with its count, and the offset between the energies of two databases."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tentpole.benchmarks.pool.composition import amounts, fractions, reduced
from tentpole.benchmarks.pool.table import Pool, concatenate
from tentpole.errors import InputError
from tentpole.records import FloatArray

ENERGY = "formation_energy_per_atom"


@dataclass(frozen=True)
class Filters:
    """What a row must be to stay. A filter whose column the pool lacks does nothing, and says so."""

    min_atoms: int = 2
    max_atoms: int = 50
    finite: tuple[str, ...] = (ENERGY, "band_gap")
    duplicate_eV_per_atom: float = 1e-3


def apply(pool: Pool, filters: Filters = Filters()) -> tuple[Pool, list[str]]:
    """The rows that pass, and one line per filter: how many it took and how many are left.

    Duplicates are rows of one reduced composition, and of one database, whose formation energies differ by
    less than `duplicate_eV_per_atom`: of a chain of such rows sorted by energy, the lowest stays.
    """
    lines = [f"{len(pool)} rows"]

    def keep(pool: Pool, mask: np.ndarray, what: str) -> Pool:
        lines.append(f"− {int((~mask).sum())} {what}: {int(mask.sum())} left")
        return pool.take(mask)

    if "nsites" in pool:
        sites = pool.numeric("nsites")
        known = np.isfinite(sites)
        fits = ~known | ((sites >= filters.min_atoms) & (sites <= filters.max_atoms))
        unknown = f" ({int((~known).sum())} of unknown size kept)" if not known.all() else ""
        pool = keep(pool, fits, f"not of {filters.min_atoms} to {filters.max_atoms} atoms{unknown}")
    else:
        lines.append(f"· sizes are unknown: {filters.min_atoms} to {filters.max_atoms} atoms not checked")
    for name in filters.finite:
        if name in pool:
            pool = keep(pool, np.isfinite(pool.numeric(name)), f"without a finite {name}")
        else:
            lines.append(f'· there is no column "{name}": not checked')
    if "formula" in pool and ENERGY in pool:
        pool = keep(pool, _first_of_twins(pool, filters.duplicate_eV_per_atom), "duplicates")
    return pool, lines


def _first_of_twins(pool: Pool, tolerance: float) -> np.ndarray:
    energy = pool.numeric(ENERGY)
    databases = pool.text("database") if "database" in pool else [""] * len(pool)
    names = [f"{d}/{reduced(f)}" for d, f in zip(databases, pool.text("formula"), strict=True)]
    order = sorted(range(len(pool)), key=lambda i: (names[i], energy[i]))
    mask = np.ones(len(pool), dtype=bool)
    for before, i in pairwise(order):
        mask[i] = not (names[i] == names[before] and energy[i] - energy[before] < tolerance)
    return mask


def formation_energies(pool: Pool) -> FloatArray:
    """E_f = E − Σ_e x_e E_e per atom, E_e the lowest energy per atom of element e in this very pool.

    For entries that carry total energies only. Raises InputError naming the elements that have no row.
    """
    energy, formulas = pool.numeric("energy_per_atom"), pool.text("formula")
    lowest: dict[str, float] = {}
    for formula, value in zip(formulas, energy, strict=True):
        parts = amounts(formula)
        if len(parts) == 1 and np.isfinite(value):
            element = next(iter(parts))
            lowest[element] = min(value, lowest.get(element, np.inf))
    lacking = sorted({e for f in formulas for e in amounts(f)} - lowest.keys())
    if lacking:
        raise InputError(
            f"formation energies need the elements' own energies, and the pool has no row of {', '.join(lacking)}. "
            f'Add them, give a column "{ENERGY}", or choose another --target.'
        )
    return np.array(
        [e - sum(x * lowest[s] for s, x in fractions(f).items()) for f, e in zip(formulas, energy, strict=True)]
    )


SCALES = (
    "energies of different databases are not on one scale; rows keep theirs, and the column database says "
    "whose. Give --align to shift them onto the first one's."
)


def mix(pools: list[Pool], align: bool) -> tuple[Pool, list[str]]:
    """All rows of pools from several databases, and what their energies mean, in words. See `aligned`."""
    if len(pools) < 2:
        return pools[0], []
    if not align:
        return concatenate(pools), [SCALES]
    shifted = [aligned(pools[0], pool) for pool in pools[1:]]
    return concatenate([pools[0], *(pool for pool, _ in shifted)]), [note for _, note in shifted]


def aligned(first: Pool, other: Pool, column: str = ENERGY, least: int = 20) -> tuple[Pool, str]:
    """`other` with its energies shifted onto those of `first`, and what was done.

    Databases relax, correct and reference differently. The shift is the median difference over the reduced
    compositions both have, the lowest energy of each. Raises InputError where fewer than `least` are shared.
    """
    own, theirs = _lowest(first, column), _lowest(other, column)
    shared = sorted(own.keys() & theirs.keys())
    name = next(iter(other.text("database")), "the other pool") if "database" in other else "the other pool"
    if len(shared) < least:
        raise InputError(
            f"--align needs {least} compositions in common with {name}, there are {len(shared)}. Leave "
            "--align out and keep the databases apart, or fetch more rows."
        )
    differences = np.array([theirs[c] - own[c] for c in shared])
    offset = float(np.median(differences))
    spread = float(np.median(np.abs(differences - offset)))
    note = (
        f"{name}: {column} shifted by {-offset:+.4f} eV/atom, the median over {len(shared)} shared "
        f"compositions (median absolute deviation {spread:.4f})"
    )
    return other.with_column(column, other.numeric(column) - offset), note


def _lowest(pool: Pool, column: str) -> dict[str, float]:
    lowest: dict[str, float] = {}
    for formula, value in zip(pool.text("formula"), pool.numeric(column), strict=True):
        if np.isfinite(value):
            name = reduced(formula)
            lowest[name] = min(float(value), lowest.get(name, np.inf))
    return lowest
