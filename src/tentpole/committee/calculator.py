"""A committee as an ASE calculator: MD pays for one member, the others answer when σ is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from numpy.typing import NDArray

from tentpole.committee import disagreement
from tentpole.committee.committee import Committee, Voter
from tentpole.committee.graph import Graph, Neighbours, graph_of
from tentpole.errors import InputError
from tentpole.records import readable_state

FloatArray = NDArray[np.float64]

DRIVER = ("energy", "free_energy", "forces")
SPREAD = (
    "energies_comm",
    "forces_comm",
    "energy_std",
    "energy_std_per_atom",
    "forces_std",
    "force_std",
    "max_force_std",
    "p95_force_std",
)
STRESS_SPREAD = ("stress_comm", "stress_std")
_OUTSIDE = -1  # stands for the driver that is no member


class CommitteeCalculator(Calculator):  # type: ignore[misc]  # ase carries no types
    """Energy, forces and stress of the driver; σ of the committee on request.

    An MD step asks for forces and pays for the driver alone. The first σ asked for at the same positions adds the other
    members, on the same neighbour list.

    Parameters
    ----------
    committee : Committee
        What votes.
    driver : int, "mean" or Voter
        The member that drives the dynamics, "mean" for the mean of all members (M times the price), or a voter from
        outside, as `foundation` and `AseVoter` make them: it drives and has no vote.
    skin : float
        Å; the neighbour list is kept until an atom has moved half of it.
    stress : bool
        True computes the driver's stress with every force call, which dynamics under pressure wants; otherwise stress
        is
        computed when asked for.

    Raises
    ------
    InputError
        For a driver that is no member.
    NonFinite
        Where a σ is asked of a broken prediction.

    Notes
    -----
    Properties, all for `get_property` and `results`:

    energy, free_energy (eV), forces (N, 3) (eV/Å), stress (6,) (eV/Å³)
        The driver's.
    energies_comm (M,), forces_comm (M, N, 3), stress_comm (M, 6)
        Every member's.
    energy_std (eV), energy_std_per_atom (eV/atom)
        Spread of the energies.
    forces_std (N,)
        Spread of every atom's force vector, eV/Å.
    force_std, max_force_std, p95_force_std
        Its mean, maximum and 95th percentile over atoms, eV/Å.
    stress_std (6,)
        Spread of the stresses, eV/Å³.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from ase.calculators.emt import EMT
    >>> from tentpole.committee import AseVoter, Committee, CommitteeCalculator
    >>> water = molecule("H2O")
    >>> water.calc = CommitteeCalculator(Committee([AseVoter(EMT()), AseVoter(EMT())]), driver="mean")
    >>> water.get_forces().shape, water.calc.get_property("forces_std").tolist()
    ((3, 3), [0.0, 0.0, 0.0])
    """

    implemented_properties: ClassVar[list[str]] = [*DRIVER, "stress", *SPREAD, *STRESS_SPREAD]
    discard_results_on_any_change = True

    def __init__(
        self,
        committee: Committee,
        driver: int | str | Voter = 0,
        *,
        skin: float = 0.5,
        stress: bool = False,
    ) -> None:
        super().__init__()
        self.committee = committee
        self.driver = driver
        self._outside: Voter | None = None
        if driver == "mean":
            self._drivers = list(range(committee.size))
        elif isinstance(driver, int) and not isinstance(driver, bool) and 0 <= driver < committee.size:
            self._drivers = [driver]
        elif not isinstance(driver, int | str):
            self._outside, self._drivers = driver, [_OUTSIDE]
        else:
            legal = f'0 to {committee.size - 1}, "mean", or a voter from outside'
            raise InputError(f"driver {driver!r} is no member of this committee. Legal: {legal}.")
        outside = 0.0 if self._outside is None else self._outside.cutoff
        self.neighbours = Neighbours(max(committee.cutoff, outside), skin)
        self._stress_always = stress
        self._graph: Graph | None = None
        self._energies: dict[int, float] = {}
        self._forces: dict[int, FloatArray] = {}
        self._stresses: dict[int, FloatArray] = {}

    def check_state(self, atoms: Atoms, tol: float = 0.0) -> list[str]:  # noqa: ARG002 - ASE's own signature
        """What has changed since the last calculation, to the last bit; charge and multiplicity count too.

        Parameters
        ----------
        atoms : Atoms
        tol : float
            Not used.

        Returns
        -------
        list of str
            ASE's names of what has changed.
        """
        return changes_between(self.atoms, atoms)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Fill `results` with what `properties` need and no more.

        Parameters
        ----------
        atoms : Atoms, optional
            None: those of the last calculation.
        properties : list of str
            Of `implemented_properties`.
        system_changes : list of str
            ASE's names of what has changed.
        """
        super().calculate(atoms, properties, system_changes)
        if system_changes or self._graph is None:
            self._graph = graph_of(self.atoms, self.neighbours(self.atoms))
            self._energies, self._forces, self._stresses = {}, {}, {}
        everyone = range(self.committee.size)
        drivers = self._drivers
        wanted = set(properties)
        stress = "stress" in wanted or self._stress_always
        if wanted & {*DRIVER, "stress"} or not wanted:
            self._need(drivers, stress and bool(self.atoms.pbc.any()))
            self._drive(drivers)
        if wanted & {*SPREAD, *STRESS_SPREAD}:
            if self.committee.size < 2:
                raise PropertyNotImplementedError("one member has no spread; load two or more")
            self._need(drivers, False)  # alone: the driver's bits do not depend on who else is asked
            self._drive(drivers)
            self._need(everyone, bool(wanted & set(STRESS_SPREAD)))
            self._spread()

    def _need(self, members: Sequence[int], stress: bool) -> None:
        have = self._stresses if stress else self._energies
        missing = [member for member in members if member not in have]
        if not missing or self._graph is None:
            return
        if self._outside is not None and missing == [_OUTSIDE]:
            energies, forces, stresses = self._outside.evaluate(self._graph, [0], stress)
        else:
            energies, forces, stresses = self.committee.vote(self._graph, missing, stress=stress)
        for k, member in enumerate(missing):
            self._energies.setdefault(member, float(energies[k, 0]))
            self._forces.setdefault(member, forces[k])  # a second pass, for stress, changes no bit
            if stresses is not None and np.isfinite(stresses[k, 0]).all():
                self._stresses[member] = stresses[k, 0]

    def _drive(self, drivers: Sequence[int]) -> None:
        energy = float(np.mean([self._energies[m] for m in drivers]))
        self.results["energy"] = self.results["free_energy"] = energy
        self.results["forces"] = np.mean([self._forces[m] for m in drivers], axis=0)
        if all(m in self._stresses for m in drivers):
            self.results["stress"] = np.mean([self._stresses[m] for m in drivers], axis=0)

    def _spread(self) -> None:
        everyone = range(self.committee.size)
        energies = np.array([self._energies[m] for m in everyone])
        forces = np.array([self._forces[m] for m in everyone])
        self.results.update(energies_comm=energies, forces_comm=forces)
        per_atom = disagreement.atom_force_std(forces)
        sigma = float(disagreement.energy_std(energies))
        self.results.update(
            energy_std=sigma,
            energy_std_per_atom=sigma / len(per_atom),
            forces_std=per_atom,
            force_std=float(per_atom.mean()),
            max_force_std=float(per_atom.max()),
            p95_force_std=float(disagreement.p95_over_atoms(per_atom)),
        )
        if all(m in self._stresses for m in everyone):
            stresses = np.array([self._stresses[m] for m in everyone])
            self.results.update(stress_comm=stresses, stress_std=disagreement.stress_std(stresses))


def changes_between(before: Atoms | None, now: Atoms) -> list[str]:
    """What a calculator's answer depends on and that is not the same to the last bit, by ASE's names.

    ASE's own comparison allows for a tolerance, and takes as long as half a step of MD of a small molecule.
    """
    if before is None:
        return list(all_changes)
    changed = [name for name in ("cell", "pbc") if not np.array_equal(getattr(before, name), getattr(now, name))]
    for name in ("positions", "numbers", "initial_charges", "initial_magmoms"):
        old, new = before.arrays.get(name), now.arrays.get(name)
        if old is not new and (old is None or new is None or not np.array_equal(old, new)):
            changed.append(name)
    return changed if changed or readable_state(before) == readable_state(now) else ["info"]
