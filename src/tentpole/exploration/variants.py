"""Structures made from others by a word: strained, denser, with a defect, cut to a slab, displaced along modes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from ase import Atom, Atoms
from ase.build import surface
from ase.data import atomic_numbers
from ase.geometry import get_distances
from ase.stress import voigt_6_to_full_3x3_stress

from tentpole.errors import InputError, optional_module, unknown

EXTRA = "structures"
MOST_ATOMS = 20_000
Bounds = dict[str, tuple[float, float]]


class Variant(Protocol):
    """A way of making structures from one."""

    @property
    def needs(self) -> str:
        """What a structure must have for it, in words."""
        return "it must be periodic in all three directions" + self._element_words()

    def fits(self, atoms: Atoms) -> bool:
        """Whether it can be made of `atoms`."""
        return bool(atoms.pbc.all()) and self._replaced() in (None, *atoms.get_chemical_symbols())

    def _replaced(self) -> str | None:
        """The element that a structure must have."""
        return None

    def _element_words(self) -> str:
        return "" if self._replaced() is None else f" and hold {self._replaced()}"

    def of(self, atoms: Atoms, rng: np.random.Generator) -> list[Atoms]:
        """The structures made from `atoms`, which stays as it is; random numbers come from `rng` alone."""
        ...


@dataclass(frozen=True, slots=True)
class Supercell(Variant):
    """The cell repeated along its vectors.

    kind : "supercell".
    repeat : how often along each of the three.
    """

    repeat: tuple[int, int, int]
    kind: Literal["supercell"] = "supercell"

    def __post_init__(self) -> None:
        if len(self.repeat) != 3 or not all(1 <= n <= 100 for n in self.repeat):
            raise InputError(f"repeat = {list(self.repeat)}: three whole numbers are wanted, 1 to 100 each")

    def of(self, atoms: Atoms, rng: np.random.Generator) -> list[Atoms]:  # noqa: ARG002
        """One structure. Raises InputError for one of more atoms than a committee can be asked for."""
        count = len(atoms) * math.prod(self.repeat)
        if count > MOST_ATOMS:
            raise InputError(f"repeat = {list(self.repeat)} makes {count} atoms: at most {MOST_ATOMS} are legal")
        return [atoms.repeat(self.repeat)]


@dataclass(frozen=True, slots=True)
class Strained(Variant):
    """The cell under a strain, its atoms moved along.

    kind : "strain".
    strain : components xx, yy, zz, yz, xz, xy of the symmetric tensor.
    """

    strain: tuple[float, ...]
    kind: Literal["strain"] = "strain"

    def __post_init__(self) -> None:
        if len(self.strain) != 6 or not all(abs(e) <= 0.5 for e in self.strain):
            raise InputError(f"strain = {list(self.strain)}: six numbers are wanted, -0.5 to 0.5 each")

    def of(self, atoms: Atoms, rng: np.random.Generator) -> list[Atoms]:  # noqa: ARG002
        """One structure."""
        _periodic(atoms, "strain")
        return [_in_cell(atoms, atoms.cell.array @ (np.eye(3) + voigt_6_to_full_3x3_stress(self.strain)))]


@dataclass(frozen=True, slots=True)
class Volumes(Variant):
    """The cell scaled to other volumes, its shape kept.

    kind : "volume".
    ratios : of the volumes to that of the structure, one structure each.
    """

    ratios: tuple[float, ...]
    kind: Literal["volume"] = "volume"

    def __post_init__(self) -> None:
        if not self.ratios or not all(0.2 <= ratio <= 5 for ratio in self.ratios):
            raise InputError(f"ratios = {list(self.ratios)}: one number at least is wanted, 0.2 to 5 each")

    def of(self, atoms: Atoms, rng: np.random.Generator) -> list[Atoms]:  # noqa: ARG002
        """One structure per ratio."""
        _periodic(atoms, "volume")
        return [_in_cell(atoms, atoms.cell.array * ratio ** (1 / 3)) for ratio in self.ratios]


@dataclass(frozen=True, slots=True)
class Vacancy(Variant):
    """One atom taken out, for each kind of site that symmetry tells apart (pymatgen-analysis-defects).

    kind : "vacancy".
    element : of the atom; all elements where none is stated.
    site : which of these structures, from 0; all where none is stated.
    """

    element: str | None = None
    site: int | None = None
    kind: Literal["vacancy"] = "vacancy"

    def __post_init__(self) -> None:
        _check_site(self.site)
        if self.element is not None:
            _check_element("element", self.element)

    def _replaced(self) -> str | None:
        return self.element

    def of(self, atoms: Atoms, rng: np.random.Generator) -> list[Atoms]:  # noqa: ARG002
        """One structure per kind of site."""
        _periodic(atoms, "vacancy")
        _has(atoms, self.element, "vacancy")
        generators = optional_module("pymatgen.analysis.defects.generators", extra=EXTRA, needed_by="a vacancy")
        species = None if self.element is None else {self.element}
        defects = generators.VacancyGenerator().generate(_structure(atoms), rm_species=species)
        return _chosen([_without(atoms, defect.site.coords) for defect in defects], self.site, "vacancy")


@dataclass(frozen=True, slots=True)
class Interstitial(Variant):
    """One atom put into each kind of hole of a crystal, by its Voronoi tessellation (pymatgen-analysis-defects).

    kind : "interstitial".
    element : of the atom.
    site : which of these structures, from 0; all where none is stated.
    """

    element: str
    site: int | None = None
    kind: Literal["interstitial"] = "interstitial"

    def __post_init__(self) -> None:
        _check_site(self.site)
        _check_element("element", self.element)

    def of(self, atoms: Atoms, rng: np.random.Generator) -> list[Atoms]:  # noqa: ARG002
        """One structure per kind of hole."""
        _periodic(atoms, "interstitial")
        generators = optional_module("pymatgen.analysis.defects.generators", extra=EXTRA, needed_by="an interstitial")
        defects = generators.VoronoiInterstitialGenerator().generate(_structure(atoms), {self.element})
        made = [_with(atoms, self.element, defect.site.coords) for defect in defects]
        return _chosen(made, self.site, "interstitial")


@dataclass(frozen=True, slots=True)
class Slab(Variant):
    """A slab cut from a crystal, with vacuum on both sides (ASE).

    kind : "slab".
    indices : Miller indices of its surface, in the structure's own cell.
    layers : how many repetitions of the cell it is thick.
    vacuum_A : on each side, in Å.
    """

    indices: tuple[int, int, int]
    layers: int = 2
    vacuum_A: float = 8.0
    kind: Literal["slab"] = "slab"

    BOUNDS: ClassVar[Bounds] = {"layers": (1, 100), "vacuum_A": (0.1, 1000)}

    def __post_init__(self) -> None:
        if len(self.indices) != 3 or not any(self.indices) or max(map(abs, self.indices)) > 20:
            raise InputError(f"indices = {list(self.indices)}: three whole numbers are wanted, not all 0, up to 20")
        check_bounds(self, self.BOUNDS)

    def of(self, atoms: Atoms, rng: np.random.Generator) -> list[Atoms]:  # noqa: ARG002
        """One structure, periodic in all three directions."""
        _periodic(atoms, "slab")
        return [surface(atoms, self.indices, self.layers, vacuum=self.vacuum_A, periodic=True)]


@dataclass(frozen=True, slots=True)
class Substitution(Variant):
    """Atoms of one element replaced by another, at random.

    kind : "substitution".
    element : what is replaced.
    by : what takes its place.
    share : of the element's atoms, 1 atom at least.
    copies : how many structures, each drawn anew.
    """

    element: str
    by: str
    share: float = 0.1
    copies: int = 1
    kind: Literal["substitution"] = "substitution"

    BOUNDS: ClassVar[Bounds] = {"share": (1e-6, 1), "copies": (1, 10**5)}

    def __post_init__(self) -> None:
        for name in ("element", "by"):
            _check_element(name, getattr(self, name))
        if self.element == self.by:
            raise InputError(f'by = "{self.by}": another element than the one that is replaced is wanted')
        check_bounds(self, self.BOUNDS)

    @property
    def needs(self) -> str:
        """What a structure must have for it, in words."""
        return f"it must hold {self.element}"

    def _replaced(self) -> str | None:
        return self.element

    def fits(self, atoms: Atoms) -> bool:
        """Whether there is something to replace."""
        return self.element in atoms.get_chemical_symbols()

    def of(self, atoms: Atoms, rng: np.random.Generator) -> list[Atoms]:
        """One structure per copy."""
        _has(atoms, self.element, "substitution")
        sites = np.flatnonzero(atoms.numbers == atomic_numbers[self.element])
        made = []
        for _ in range(self.copies):
            new = atoms.copy()
            drawn = rng.choice(sites, max(1, round(self.share * len(sites))), replace=False)
            new.numbers[drawn] = atomic_numbers[self.by]
            new.arrays.pop("masses", None)  # of the elements that were there
            made.append(new)
        return made


def elements_added(variant: Variant) -> set[str]:
    """Elements that a structure may have by this variant and did not have before."""
    if isinstance(variant, Interstitial):
        return {variant.element}
    return {variant.by} if isinstance(variant, Substitution) else set()


def made(atoms: Atoms, chain: tuple[Variant, ...], rng: np.random.Generator) -> Atoms:
    """The structure that one variant after another makes of `atoms`.

    Parameters
    ----------
    atoms : ase.Atoms
        It stays as it is.
    chain : tuple of Variant
        Each of which gives one structure.
    rng : numpy.random.Generator
        Of the random ones.

    Raises
    ------
    InputError
        Where one gives none or several.

    Examples
    --------
    >>> import numpy as np
    >>> from ase.build import bulk
    >>> from tentpole.exploration.variants import Substitution, Supercell, made
    >>> alloy = made(bulk("Cu"), (Supercell((2, 2, 2)), Substitution("Cu", "Au", 0.25)), np.random.default_rng(0))
    >>> alloy.get_chemical_formula()
    'Au2Cu6'
    """
    for variant in chain:
        made = variant.of(atoms, rng)
        if len(made) != 1:
            kind = getattr(variant, "kind", type(variant).__name__)
            raise InputError(
                f'"{kind}" makes {len(made)} structures of it, and one is wanted: give one ratio, one copy, or '
                f"site = 0 to {len(made) - 1}"
            )
        atoms = made[0]
    return atoms


def _in_cell(atoms: Atoms, cell: Any) -> Atoms:
    new = atoms.copy()
    new.set_cell(cell, scale_atoms=True)
    return new


def _structure(atoms: Atoms) -> Any:
    core = optional_module("pymatgen.core", extra=EXTRA, needed_by="a defect")
    return core.Structure(atoms.cell.array, atoms.get_chemical_symbols(), atoms.get_scaled_positions())


def _without(atoms: Atoms, place: Any) -> Atoms:
    _, distances = get_distances(np.reshape(place, (1, 3)), atoms.positions, cell=atoms.cell, pbc=True)
    new = atoms.copy()
    del new[int(np.argmin(distances[0]))]
    return new


def _with(atoms: Atoms, element: str, place: Any) -> Atoms:
    new = atoms.copy()
    new.append(Atom(element, np.asarray(place, dtype=float)))
    return new


def _chosen(structures: list[Atoms], site: int | None, kind: str) -> list[Atoms]:
    if site is None:
        return structures
    if site >= len(structures):
        raise InputError(f"site = {site}: {kind} gives {len(structures)} structures, counted from 0")
    return [structures[site]]


def _periodic(atoms: Atoms, kind: str) -> None:
    if not atoms.pbc.all():
        raise InputError(
            f'"{kind}" needs a structure that is periodic in all three directions; its pbc is {atoms.pbc.tolist()}'
        )


def _has(atoms: Atoms, element: str | None, kind: str) -> None:
    there = sorted(set(atoms.get_chemical_symbols()))
    if element is not None and element not in there:
        raise unknown(f"element of the {kind}", element, there)


def _check_element(name: str, symbol: str) -> None:
    if atomic_numbers.get(symbol, 0) < 1:
        raise InputError(f'{name} = "{symbol}" is no element: write its symbol')


def _check_site(site: int | None) -> None:
    if site is not None and not 0 <= site <= 10**4:
        raise InputError(f"site = {site}: 0 or more is legal")


def check_bounds(settings: Any, bounds: Bounds) -> None:
    """Raises InputError for the first of `settings` that lies outside its `bounds`, or is NaN."""
    for name, (low, high) in bounds.items():
        if not low <= getattr(settings, name) <= high:
            raise InputError(f"{name} = {getattr(settings, name)}: {low:g} to {high:g} is legal")
