"""What members learned the difference to, and adding it back.

A member that was trained on reference − baseline says so in its description: the baseline's name, its hash, and the
charge and multiplicity of frames that carry none. Nothing is imported for it but what the caller names.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import NDArray
from typing_extensions import override

from tentpole.committee.committee import Voter
from tentpole.committee.graph import Graph, structures_of
from tentpole.committee.member_files import read_description
from tentpole.errors import InputError, StateError, TentpoleError
from tentpole.labeling import references
from tentpole.labeling.references import Reference
from tentpole.records import state_of

FloatArray = NDArray[np.float64]

BASELINE_FILE = "baseline.json"
"""Beside the members of a campaign: where its own workers find the baseline's reference file."""

KEPT = 64
"""Calculators at hand: one for each set of keywords, such as each charge."""

Named: TypeAlias = str | Path | Reference | Any


@dataclass(frozen=True, slots=True)
class BaselineFacts:
    """What a member's description says of its baseline: name, hash, and the state of frames that carry none."""

    name: str
    hash: str
    charge: int | None = None
    multiplicity: int | None = None


class Baseline:
    """Energies, forces and stresses of a reference, or of any ASE calculator, structure by structure.

    Each structure is evaluated as if it were the first: no bit depends on what was asked before. Where the calculator
    fails for a structure its numbers are NaN, and `said` is why.

    Parameters
    ----------
    source : str, Path, Reference or ase.calculators.calculator.Calculator
        A name from `tentpole references`, a TOML file, a reference, or a calculator whose word is taken for it.
    charge, multiplicity : int, optional
        Of frames that carry none themselves.
    """

    def __init__(self, source: Named, charge: int | None = None, multiplicity: int | None = None) -> None:
        self.reference: Reference | None = None
        self._given: Any = None
        if isinstance(source, Reference):
            self.reference = source
        elif isinstance(source, str | Path):
            self.reference = references.load(source)
        else:
            self._given = source
        self.charge, self.multiplicity = charge, multiplicity
        self.said = ""
        self._made: dict[str, Any] = {}
        self._last: tuple[Graph, bool, tuple[FloatArray, FloatArray, FloatArray | None]] | None = None

    @property
    def hash(self) -> str:
        """Of the reference; "" for a calculator."""
        return "" if self.reference is None else self.reference.hash

    def facts(self) -> BaselineFacts:
        """What is kept with members that learn the difference to it. Raises InputError for a bare calculator."""
        if self.reference is None:
            raise InputError("a baseline that members are trained with is a reference file, not a calculator")
        return BaselineFacts(self.reference.name, self.hash, self.charge, self.multiplicity)

    def of(self, atoms: Atoms, *, stress: bool = False) -> tuple[float, FloatArray, FloatArray]:
        """Energy in eV, forces (N, 3) in eV/Å and stress (6,) in eV/Å³; NaN where there is none."""
        nothing = np.full(6, np.nan)
        try:
            calculator, seen = self._calculator(atoms)
            if hasattr(calculator, "reset"):
                calculator.reset()
            energy = float(calculator.get_property("energy", seen))
            forces = np.array(calculator.get_property("forces", seen), dtype=np.float64)
            tensor = self._stress(calculator, seen) if stress and bool(atoms.pbc.any()) else nothing
        except TentpoleError:
            raise
        except Exception as error:  # a calculator raises whatever it likes
            self.said = f"{type(error).__name__}: {error}"
            return np.nan, np.full((len(atoms), 3), np.nan), nothing
        return energy, forces, tensor

    def evaluate(self, graph: Graph, stress: bool) -> tuple[FloatArray, FloatArray, FloatArray | None]:
        """Energies (n,), forces (N, 3) and stresses (n, 6) of a graph; kept for the next member that asks."""
        if self._last is not None and self._last[0] is graph and (self._last[1] or not stress):
            return self._last[2]
        parts = [self.of(atoms, stress=stress) for atoms in structures_of(graph)]
        energies = np.array([energy for energy, _, _ in parts])
        stresses = np.array([part for _, _, part in parts]) if stress else None
        answer = energies, np.concatenate([forces for _, forces, _ in parts]), stresses
        self._last = graph, stress, answer
        return answer

    def _calculator(self, atoms: Atoms) -> tuple[Any, Atoms]:
        """The calculator for a structure, and the structure as it wants it."""
        if self.reference is None:
            return self._given, atoms
        state = state_of(atoms, self.charge, self.multiplicity)
        setup = self.reference.setup(atoms, *state, Path())
        if not self.reference.code.stateless:  # one that goes on from its last density would remember
            return self.reference.make(setup.keywords, None), setup.atoms
        key = repr(sorted(setup.keywords.items(), key=str))
        if key not in self._made:
            if len(self._made) >= KEPT:
                self._made.clear()
            self._made[key] = self.reference.make(setup.keywords, None)
        return self._made[key], setup.atoms

    def _stress(self, calculator: Any, atoms: Atoms) -> FloatArray:
        try:
            tensor = np.asarray(calculator.get_property("stress", atoms), dtype=np.float64)
        except PropertyNotImplementedError:
            return np.full(6, np.nan)
        return np.asarray(full_3x3_to_voigt_6_stress(tensor)) if tensor.shape == (3, 3) else tensor


class BaselineVoter(Voter):
    """A member with its baseline added back; attributes of the member itself are those of `member`."""

    def __init__(self, member: Any, baseline: Baseline) -> None:
        self.member, self.baseline = member, baseline
        self.numbers, self.cutoff = member.numbers, member.cutoff

    @property
    def votes(self) -> int:
        """Those of the member."""
        return int(self.member.votes)

    @override
    def evaluate(
        self, graph: Graph, votes: Sequence[int], stress: bool
    ) -> tuple[FloatArray, FloatArray, FloatArray | None]:
        """The member's answers and the baseline's."""
        energies, forces, stresses = self.member.evaluate(graph, votes, stress)
        more_energy, more_force, more_stress = self.baseline.evaluate(graph, stress)
        if stresses is not None and more_stress is not None:
            stresses = stresses + more_stress
        return energies + more_energy, forces + more_force, stresses


def without_baseline(voter: Any) -> Any:
    """The member itself, whose network is looked into."""
    return voter.member if isinstance(voter, BaselineVoter) else voter


def needed(stem: Path) -> BaselineFacts | None:
    """The baseline that a member learned the difference to, if any."""
    told = read_description(stem).get("baseline")
    return None if told is None else BaselineFacts(**told)


def with_baselines(voters: Sequence[Any], stems: Sequence[Path], given: Named | Baseline | None) -> list[Any]:
    """The members under `stems`, each with its baseline added back.

    Raises InputError where members need one that was not given, another one, or none.
    """
    wanted = [needed(stem) for stem in stems]
    if all(one is None for one in wanted):
        if given is not None:
            raise InputError("these members learned whole energies: leave the baseline out")
        return list(voters)
    if any(one != wanted[0] for one in wanted):
        raise InputError(f"{stems[0].parent}: members learned differences to different baselines: load them apart")
    facts = wanted[0]
    assert facts is not None
    if given is None:
        raise InputError(
            f"{stems[0].parent}: its members learned the difference to {facts.name} ({facts.hash}), which is to be "
            f'added back: name it, as in Committee.load(…, baseline="{facts.name}") or --baseline {facts.name}'
        )
    baseline = given if isinstance(given, Baseline) else Baseline(given, facts.charge, facts.multiplicity)
    if baseline.reference is not None and baseline.hash != facts.hash:
        raise InputError(
            f'{stems[0].parent}: its members learned the difference to {facts.name} ({facts.hash}), and "'
            f'{baseline.reference.name}" is {baseline.hash} here: another method, other parameters or another version'
        )
    return [BaselineVoter(voter, baseline) for voter in voters]


def baseline_beside(models: Path) -> Baseline | None:
    """The baseline that a campaign wrote down beside its members; None where they have none.

    For the campaign's own workers, which run what its campaign file names in any case.
    """
    path = models / BASELINE_FILE
    if not path.is_file():
        return None
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        source = told["reference"]
        place = models / source if source.endswith(".toml") else source
        return Baseline(place, told["charge"], told["multiplicity"])
    except (ValueError, KeyError, TypeError) as error:
        raise StateError(f"{path}: damaged ({error}). Restore it from a copy") from None


def carry_baseline(frames: Sequence[Atoms], baseline: Baseline) -> list[Atoms]:
    """The frames, each with the baseline's numbers under baseline_energy, baseline_forces and baseline_stress.

    Raises StateError for a frame of which the baseline says nothing, with what its calculator said.
    """
    copies = []
    for number, atoms in enumerate(frames):
        energy, forces, stress = baseline.of(atoms, stress="REF_stress" in atoms.info)
        if not (np.isfinite(energy) and np.isfinite(forces).all()):
            name = "its calculator" if baseline.reference is None else f'"{baseline.reference.name}"'
            raise StateError(
                f"[baseline] {name} has no energy or forces of frame {number} ({atoms.get_chemical_formula()}): "
                f"{baseline.said or 'they are not finite'}. A baseline must hold for all structures: take another one"
            )
        copy = atoms.copy()
        copy.info["baseline_energy"], copy.arrays["baseline_forces"] = energy, forces
        if np.isfinite(stress).all():
            copy.info["baseline_stress"] = stress
        copies.append(copy)
    return copies
