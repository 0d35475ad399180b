"""Magnetic moments that a campaign states: which atoms start with one, and whether anything was said where it must be.

Starting moments are part of a structure: ASE's array "initial_magmoms", µB per atom, collinear.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from ase import Atoms
from ase.data import atomic_numbers

from tentpole.errors import InputError, nearest
from tentpole.labeling.codes.moments import check_moment, check_moments
from tentpole.labeling.references import Reference
from tentpole.records import MOMENTS, moments_of

FROM_STRUCTURE = "from structure"
_METALS_3D = ("V", "Cr", "Mn", "Fe", "Co", "Ni")
_LANTHANIDES = ("Ce", "Pr", "Nd", "Pm", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er", "Tm", "Yb")
_ACTINIDES = ("U", "Np", "Pu", "Am", "Cm")
OPEN_SHELLS = frozenset((*_METALS_3D, *_LANTHANIDES, *_ACTINIDES))
"""Elements whose open d or f shell carries a moment in the metal or in common compounds."""


@dataclass(frozen=True)
class Magnetism:
    """Starting moments of every structure that is labelled.

    moments : µB by element, as in {Fe = 2.5}, elements that are not named starting from zero; or "from structure":
        each structure brings its own as ASE's initial_magmoms (antiferromagnets need this), which its MD frames keep.
    """

    moments: dict[str, float] | Literal["from structure"]

    def __post_init__(self) -> None:
        if isinstance(self.moments, str):
            return
        if not self.moments:
            raise InputError('moments = {} starts nothing: name an element, as in {Fe = 2.5}, or "from structure"')
        for element, moment in self.moments.items():
            if element not in atomic_numbers or element == "X":
                meant = nearest(element.capitalize(), atomic_numbers) or "."
                raise InputError(f'moments: "{element}" is no element{meant} Write symbols, as in {{Fe = 2.5}}')
            check_moment(moment, element)


def read_moments(text: str) -> Magnetism:
    """As on a command line: "Fe=2.5,O=0.1", or "from structure". Raises InputError for anything else."""
    if text == FROM_STRUCTURE:
        return Magnetism("from structure")
    try:
        pairs = [pair.split("=") for pair in text.split(",")]
        return Magnetism({element.strip(): float(moment) for element, moment in pairs})
    except ValueError:
        raise InputError(f'moments "{text}": write Fe=2.5,Co=1.7 (µB by element) or "{FROM_STRUCTURE}".') from None


def started(magnetism: Magnetism | None, atoms: Atoms, where: str) -> Atoms:
    """A copy of `atoms` with the starting moments that `magnetism` states; with none where it is None.

    Raises InputError, naming the structure as `where`, for "from structure" without moments on `atoms`.
    """
    atoms = atoms.copy()
    own = atoms.arrays.pop(MOMENTS, None)
    if magnetism is None:
        return atoms
    if not isinstance(magnetism.moments, str):
        atoms.set_initial_magnetic_moments([magnetism.moments.get(e, 0.0) for e in atoms.get_chemical_symbols()])
        return atoms
    if own is None:
        raise InputError(
            f'{where}: moments = "{FROM_STRUCTURE}", but it has no {MOMENTS}. Set them in ASE, zeros where there is no '
            "moment: atoms.set_initial_magnetic_moments([…]), and write the file as extended XYZ."
        )
    atoms.set_initial_magnetic_moments(own)
    check_moments(atoms, where)
    return atoms


def check_magnetism(magnetism: Magnetism | None, reference: Reference, structures: Sequence[Atoms]) -> None:
    """What must hold of [magnetism] before anything is spent; `structures` carry their moments already.

    Raises InputError where the reference's program knows no spin, or no structure has a moment.
    """
    if magnetism is None:
        return
    if reference.code.spin == "none":
        raise InputError(
            f'magnetism: reference "{reference.name}" ({reference.import_path}) knows no magnetic moments. Leave them '
            "out, or take a reference that does: espresso, vasp, aims, gpaw."
        )
    if all(moments_of(atoms) is None for atoms in structures):
        raise InputError(
            f"magnetism: moments = {magnetism.moments!r} give no atom of the structures a moment to start from."
        )


def unstated(reference: Reference, structures: Iterable[Atoms]) -> str:
    """What to say where a DFT reference meets open d or f shells and nothing was said of moments; "" elsewhere."""
    if reference.code.spin != "solved":
        return ""
    elements = {symbol for atoms in structures for symbol in atoms.get_chemical_symbols()}
    open_d_f = sorted(elements & OPEN_SHELLS)
    if not open_d_f:
        return ""
    return (
        f"{', '.join(open_d_f)}: open d or f shells, and no [magnetism] in the campaign: {reference.name} is not told "
        "which moments to start from and may end in a non-magnetic state. State them, as in [magnetism] moments = "
        f'{{{open_d_f[0]} = 2.5}} (µB) or moments = "{FROM_STRUCTURE}".'
    )
