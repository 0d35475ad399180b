"""Reference methods: what a label means, read from calculators/*.toml.

A reference is physics: its hash covers the resolved parameters, the calculator, the program's version and the
checksums of its pseudopotential or basis files. Machine settings stay in ASE's own config.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ase import Atoms

from tentpole.errors import InputError
from tentpole.labeling.acceptance import Accept
from tentpole.labeling.codes import Code, Setup, SinglePoint, code_of
from tentpole.labeling.codes.base import takes
from tentpole.labeling.codes.modules import advice, import_module
from tentpole.labeling.codes.moments import check_moments
from tentpole.labeling.reference_files import Retry, available, merge, read
from tentpole.records import MOMENTS, bare, moments_of

__all__ = ["Reference", "Retry", "available", "load"]


@dataclass(frozen=True)
class Reference:
    """One method that labels, resolved: parents merged, words checked, nothing imported or run yet.

    Parameters
    ----------
    name, description, source : str
        The file's name, what it says of itself, and where it lies.
    import_path, home : str
        "module:name" of the ASE calculator, and the folder in which its module is looked for first.
    properties : tuple of str
        "energy", "forces", "stress".
    requires, requires_for_molecules : tuple of str
        "charge", "multiplicity": what the campaign must state.
    parameters : dict
        Physics, and the way to the converged result.
    accept : Accept
        What a good label is.
    retries, allow : tuple of Retry, tuple of str
        What is tried where the SCF does not converge, and which of it counts as the same reference.
    code_version : str
        Of the program, where it cannot be asked.
    elements : tuple of str
        Of the campaign; for programs with pseudopotential or basis files, these files are part of the hash.
    """

    name: str
    import_path: str
    properties: tuple[str, ...]
    requires: tuple[str, ...] = ()
    requires_for_molecules: tuple[str, ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)
    accept: Accept = field(default_factory=Accept)
    retries: tuple[Retry, ...] = ()
    allow: tuple[str, ...] = ()
    code_version: str = ""
    description: str = ""
    source: str = ""
    home: str = ""
    elements: tuple[str, ...] = ()

    @property
    def code(self) -> Code:
        """How the reference's program is run and read."""
        return code_of(self.import_path, self.home)

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """Everything that the hash covers, as plain data: what two labels of one reference have in common.

        Raises InputError where the program's version or its potentials cannot be found on this machine.
        """
        content: dict[str, Any] = {
            "calculator": self.import_path,
            "parameters": self.physics(self.parameters),
            "version": self.code_version or self.code.version(self.import_path),
        }
        potentials = self.code.potentials(self.parameters, self.elements)
        if potentials is not None:
            if not self.elements:
                raise InputError(
                    f"{self.name}: its hash covers the potentials of the campaign's elements. Load it with "
                    f'them, as in load("{self.name}", elements=("O", "H")).'
                )
            content["potentials"] = potentials
        allowed = [self._merged(retry) for retry in self.retries if retry.name in self.allow]
        if allowed:
            content["allowed retries"] = [self.physics(parameters) for parameters in allowed]
        return content

    def physics(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """What of `parameters` changes a converged result.

        Parameters
        ----------
        parameters : dict
            As in the reference file.

        Returns
        -------
        dict
            Flat, with dotted keys.
        """
        algorithmic = self.code.algorithmic
        return {key: value for key, value in _flat(parameters).items() if key not in algorithmic}

    @functools.cached_property
    def hash(self) -> str:
        """16 hex digits that name the physics. Labels of different hashes never train one model."""
        text = json.dumps(self.identity, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def with_retry(self, retry: Retry) -> Reference:
        """The reference with one of its retries merged in, and none of its own.

        Parameters
        ----------
        retry : Retry
            One of the reference's.

        Returns
        -------
        Reference
        """
        tried = replace(self, parameters=self._merged(retry), retries=(), allow=())
        same = {key: value for key, value in self.identity.items() if key != "allowed retries"}
        tried.__dict__["identity"] = {
            **same,
            "parameters": self.physics(tried.parameters),
        }  # not asked for again
        return tried

    def joins(self, retry: Retry) -> bool:
        """Whether labels of this retry are this reference's: the same physics, or allowed by name.

        Parameters
        ----------
        retry : Retry
            One of the reference's.

        Returns
        -------
        bool
        """
        same = self.physics(self._merged(retry)) == self.physics(self.parameters)
        return same or retry.name in self.allow

    def _merged(self, retry: Retry) -> dict[str, Any]:
        return merge(self.parameters, retry.parameters)

    def bare(self, atoms: Atoms) -> Atoms:
        """What a label is of.

        Parameters
        ----------
        atoms : ase.Atoms
            It stays as it is.

        Returns
        -------
        ase.Atoms
            Species, positions, cell, pbc, and starting moments where the program has spin.
        """
        known = bare(atoms)
        if self.code.spin == "none":
            known.arrays.pop(MOMENTS, None)
        return known

    def check(self, atoms: Atoms, charge: int | None, multiplicity: int | None) -> None:
        """What must hold before anything is spent on `atoms`.

        Parameters
        ----------
        atoms : ase.Atoms
            To be labelled.
        charge, multiplicity : int or None
            In e, and 2S + 1.

        Raises
        ------
        InputError
            Where a required charge or multiplicity is missing, where both together are impossible (electrons − charge
            and
            multiplicity − 1 must be both even or both odd), or where starting moments are no collinear ones of atoms.
        """
        if self.code.spin != "none":
            check_moments(atoms, self.name)
        needed = self.requires + (() if atoms.pbc.any() else self.requires_for_molecules)
        given = {"charge": charge, "multiplicity": multiplicity}
        for name in needed:
            if given[name] is None:
                raise InputError(
                    f'reference "{self.name}" needs the {name} of {atoms.get_chemical_formula()} and the '
                    f"campaign does not state it. There is no default: write {name} = … ({_MEANING[name]})."
                )
        if multiplicity is None:
            return
        moments = moments_of(self.bare(atoms))
        if multiplicity == 1 and moments is not None and abs(moments.sum()) > 0.5:
            raise InputError(
                f"{atoms.get_chemical_formula()}: its starting moments add up to {moments.sum():g} µB, and "
                "multiplicity 1 leaves no electron unpaired. Leave one of them out."
            )
        electrons = int(atoms.numbers.sum()) - (charge or 0)
        unpaired = multiplicity - 1
        if not 0 <= unpaired <= electrons or (electrons - unpaired) % 2:
            likely = 1 if electrons % 2 == 0 else 2
            raise InputError(
                f"{atoms.get_chemical_formula()} with charge {charge or 0} has {electrons} electrons: "
                f"multiplicity {multiplicity} is impossible. The lowest possible one is {likely}."
            )

    def setup(self, atoms: Atoms, charge: int | None, multiplicity: int | None, directory: Path) -> Setup:
        """The single point in the program's own words.

        Parameters
        ----------
        atoms : ase.Atoms
            To be labelled.
        charge, multiplicity : int or None
            In e, and 2S + 1.
        directory : Path
            Where the program works.

        Returns
        -------
        Setup
            The atoms as the program sees them, bare but for starting moments, and its calculator's keywords.
        """
        self.check(atoms, charge, multiplicity)
        wanted = tuple(p for p in self.properties if p != "stress" or atoms.pbc.all())
        request = SinglePoint(
            self.name, self.bare(atoms), dict(self.parameters), wanted, charge, multiplicity, directory
        )
        return self.code.setup(request)

    def make(self, keywords: dict[str, Any], directory: Path | None) -> Any:
        """The ASE calculator. Only here is its module imported.

        Parameters
        ----------
        keywords : dict
            Its own.
        directory : Path or None
            Where it works, if it takes one.

        Returns
        -------
        ase.calculators.calculator.Calculator
        """
        factory = _factory(self.import_path, self.home, self.source)
        if directory is not None and takes(factory, "directory"):
            keywords = {**keywords, "directory": str(directory)}
        return factory(**keywords)

    def calculator(
        self,
        charge: int | None = None,
        multiplicity: int | None = None,
        directory: Path | str = ".",
        *,
        atoms: Atoms,
    ) -> Any:
        """An ASE calculator of this reference for structures like `atoms`, for scripts and MD.

        Parameters
        ----------
        charge, multiplicity : int, optional
            In e, and 2S + 1.
        directory : path
            Where the program works.
        atoms : ase.Atoms
            k-points, spin and box follow from it. For a molecule in a box attach the calculator to `setup(...).atoms`.

        Returns
        -------
        ase.calculators.calculator.Calculator
        """
        return self.make(self.setup(atoms, charge, multiplicity, Path(directory)).keywords, Path(directory))


_MEANING = {
    "charge": "the total charge in e, 0 for a neutral structure",
    "multiplicity": "2S + 1, 1 for a closed shell",
}


def load(name_or_path: str | Path, elements: Sequence[str] = ()) -> Reference:
    """Read a reference.

    Parameters
    ----------
    name_or_path : str or path
        One of `available()`, or a TOML file.
    elements : sequence of str
        Of the campaign: their pseudopotentials or basis sets are part of the hash.

    Returns
    -------
    Reference

    Raises
    ------
    InputError
        For an unknown name or key (with the nearest right one) and for what has a wrong type.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from tentpole.labeling import load
    >>> emt = load("emt")
    >>> copper = bulk("Cu")
    >>> copper.calc = emt.calculator(atoms=copper)
    >>> round(float(copper.get_potential_energy()), 3)
    -0.006
    >>> load("emtt")
    Traceback (most recent call last):
        ...
    tentpole.errors.InputError: unknown reference "emtt"; did you mean "emt"? ...
    """
    content = read(name_or_path)
    return Reference(**content, elements=tuple(sorted(set(elements))))


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as dotted keys; 520 and 520.0 are the same number."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = int(value) if isinstance(value, float) and value.is_integer() else value
    return flat


def _factory(import_path: str, home: str, source: str) -> Callable[..., Any]:
    module, _, attribute = import_path.partition(":")
    try:
        factory = getattr(import_module(module, home), attribute)
    except (ImportError, AttributeError) as error:
        missing = isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] == module.split(".")[0]
        what = f" {advice(module)}" if missing else ""
        raise InputError(f'{source}: cannot import calculator = "{import_path}": {error}.{what}') from None
    return factory  # type: ignore[no-any-return]
