"""What Tentpole must know of a program to label with it, and the form that any ASE calculator has."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from ase import Atoms
from typing_extensions import override

from tentpole.labeling.codes import modules


@dataclass(frozen=True)
class SinglePoint:
    """One single point as the campaign states it.

    Bare atoms with their starting moments, physics, properties, charge (e) and spin.
    """

    reference: str
    atoms: Atoms
    parameters: dict[str, Any]
    properties: tuple[str, ...]
    charge: int | None
    multiplicity: int | None
    folder: Path


@dataclass(frozen=True)
class Setup:
    """The same single point in the program's own words: the atoms it sees and its calculator's keywords."""

    atoms: Atoms
    keywords: dict[str, Any]


@dataclass(frozen=True)
class Configuration:
    """What this machine has of a program, what is missing, and the lines to add to ASE's config, or other advice."""

    found: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    add: str = ""
    advice: str = ""


Spin = Literal["solved", "passed", "none"]
"""Whether a program solves for electrons with spin, so that a magnet's starting moments must be stated; is handed them
on its atoms, Tentpole knowing no more; or has none."""


class Code(Protocol):
    """How one program takes charge, spin, k-points and boxes, and how it says that it converged."""

    @property
    def algorithmic(self) -> frozenset[str]:
        """Parameters (dotted where nested) that steer the way to the converged result and not the result.

        They stay out of the reference hash, and a retry that changes only them is the same physics.
        """

    @property
    def stateless(self) -> bool:
        """Whether one calculator may serve many labels without any of them depending on the others."""

    @property
    def spin(self) -> Spin:
        """What becomes of starting moments: see `Spin`."""

    @property
    def socket_output(self) -> str:
        """Name of the output file of a program that can serve many labels over a socket; "" where it cannot."""

    def setup(self, request: SinglePoint) -> Setup:
        """Raises InputError for what can never run, LabelError for what this one structure rules out."""

    def version(self, calculator: str) -> str:
        """The program's version, asked of package or program. Raises InputError where it cannot be."""

    def potentials(self, parameters: dict[str, Any], elements: tuple[str, ...]) -> dict[str, str] | None:
        """Checksums of the pseudopotential or basis files of `elements`; None where a program has none."""

    def verify(self, folder: Path) -> dict[str, Any]:
        """Read the program's own output: LabelError unless it converged and finished. Facts for the label."""

    def judge(self, text: str) -> dict[str, Any]:
        """As `verify`, of the part of a running program's output that is about one label."""

    def concluded(self, text: str) -> bool:
        """Whether a running program has said how its SCF ended."""

    def configuration(self, calculator: str) -> Configuration:
        """What this machine has of the program, and what must be added."""
        ...


@dataclass(frozen=True)
class AnyCalculator(Code):
    """Any ASE calculator: parameters are its keywords; charge and multiplicity too where they are stated.

    Such a calculator must raise where it has not converged: nothing else is known of its output. Its module is looked
    for in the folder `home` first.
    """

    algorithmic: frozenset[str] = frozenset()
    stateless: bool = False
    fixed: tuple[tuple[str, Any], ...] = ()
    spin: Spin = "passed"
    home: str = ""
    socket_output: str = ""

    @override
    def setup(self, request: SinglePoint) -> Setup:
        keywords = dict(self.fixed) | request.parameters
        for name, value in (("charge", request.charge), ("multiplicity", request.multiplicity)):
            if value is not None:
                keywords[name] = value
        return Setup(request.atoms, keywords)

    @override
    def version(self, calculator: str) -> str:
        return modules.source_version(calculator, self.home)

    @override
    def potentials(self, parameters: dict[str, Any], elements: tuple[str, ...]) -> dict[str, str] | None:
        return None

    @override
    def verify(self, folder: Path) -> dict[str, Any]:
        return {}

    @override
    def judge(self, text: str) -> dict[str, Any]:
        return {}

    @override
    def concluded(self, text: str) -> bool:
        return True

    @override
    def configuration(self, calculator: str) -> Configuration:
        module = calculator.partition(":")[0]
        name = f"Python module {module}"
        if modules.exists(module, self.home):
            return Configuration(found=(name,))
        return Configuration(missing=(name,), advice=modules.advice(module))


def takes(factory: Callable[..., Any], keyword: str) -> bool:
    """Whether `factory` accepts `keyword`: by name, or among any keywords."""
    parameters = inspect.signature(factory).parameters
    return keyword in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
