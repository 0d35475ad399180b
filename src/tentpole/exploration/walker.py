"""Walkers on ASE's integrators: state in, state out.

A walker holds all that its next step depends on, the generator's state included, so that 50 + 50 steps are
100 steps bit for bit, in one process or in two with a crash between them.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.constraints import FixCom
from ase.md.langevin import Langevin as AseLangevin
from ase.md.velocitydistribution import thermalize_momenta
from typing_extensions import override

from tentpole.committee.neighbourhood import UnusableGeometry
from tentpole.exploration.ramps import Ramp
from tentpole.records import Condition, FloatArray, Walker
from tentpole.units import FS


class Integrator(Protocol):
    """One step of MD after another."""

    def step(self, forces: FloatArray) -> FloatArray:
        """Move the atoms by one step, given the forces (N, 3) in eV/Å on them, and return those after it."""
        ...


class Ensemble(Protocol):
    """Settings of a thermostat, and of a barostat where there is one."""

    @property
    def barostatted(self) -> bool:
        """Whether the cell moves, so that every step asks for the stress."""
        ...

    def integrator(
        self, atoms: Atoms, condition: Condition, rng: np.random.Generator, barostat: tuple[float, ...] = ()
    ) -> Integrator:
        """The integrator for `atoms`.

        Parameters
        ----------
        atoms : ase.Atoms
            With a calculator and momenta.
        condition : Condition
            Temperature and pressure.
        rng : numpy.random.Generator
            Of the thermostat's random numbers.
        barostat : tuple of float
            What to go on from, as `barostat_of` gave it; () at the beginning.

        Returns
        -------
        Integrator
        """
        ...

    def retarget(self, integrator: Integrator, condition: Condition) -> None:
        """Give an integrator another temperature and pressure, from its next step on.

        Parameters
        ----------
        integrator : Integrator
            Made by `integrator`.
        condition : Condition
            Temperature and pressure.
        """
        ...

    def barostat_of(self, integrator: Integrator) -> tuple[float, ...]:
        """What the barostat goes on from.

        Parameters
        ----------
        integrator : Integrator
            Made by `integrator`.

        Returns
        -------
        tuple of float
            () where there is none.
        """
        ...


@dataclass(frozen=True, slots=True)
class Langevin(Ensemble):
    """Langevin dynamics at constant volume (NVT).

    Parameters
    ----------
    timestep_fs : float
        fs.
    friction_per_fs : float
        1/fs; 0.01 damps in 100 fs.
    """

    timestep_fs: float = 1.0
    friction_per_fs: float = 0.01

    @property
    @override
    def barostatted(self) -> bool:
        """The cell stays as it is."""
        return False

    @override
    def integrator(
        self,
        atoms: Atoms,
        condition: Condition,
        rng: np.random.Generator,
        barostat: tuple[float, ...] = (),
    ) -> Any:
        """ASE's Langevin integrator for `atoms`."""
        return AseLangevin(
            atoms,
            timestep=self.timestep_fs * FS,
            temperature_K=condition.temperature_K,
            friction=self.friction_per_fs / FS,  # ASE's unit is inverse ASE time
            fixcm=False,
            rng=rng,
        )

    @override
    def retarget(self, integrator: Any, condition: Condition) -> None:
        """Set the thermostat's temperature."""
        integrator.set_temperature(temperature_K=condition.temperature_K)

    @override
    def barostat_of(self, integrator: Integrator) -> tuple[float, ...]:
        """There is no barostat."""
        return ()


def init_walker(identifier: str, condition: Condition, atoms: Atoms, rng: np.random.Generator) -> Walker:
    """A walker at step 0 with Maxwell-Boltzmann momenta at the condition's temperature.

    Parameters
    ----------
    identifier : str
        Such as "w00".
    condition : Condition
        Its temperature and pressure.
    atoms : ase.Atoms
        Where it starts. Without constraints of its own its centre of mass is held.
    rng : numpy.random.Generator
        Draws the momenta and goes on with the walker.

    Returns
    -------
    Walker

    Examples
    --------
    50 and 50 steps are 100 steps, bit for bit:

    >>> from ase.build import bulk
    >>> from ase.calculators.lj import LennardJones
    >>> from tentpole.exploration import advance, init_walker
    >>> from tentpole.records import Condition
    >>> argon = bulk("Ar", a=5.3, cubic=True).repeat(2)
    >>> calc = LennardJones(sigma=3.4, epsilon=0.01, rc=5.0, smooth=True)
    >>> walker = init_walker("w00", Condition("argon", 40.0), argon, np.random.default_rng(0))
    >>> whole, split = advance(walker, calc, 4), advance(advance(walker, calc, 2), calc, 2)
    >>> whole.step, bool((whole.atoms.positions == split.atoms.positions).all())
    (4, True)
    """
    start = atoms.copy()
    start.calc = None
    if not start.constraints:
        start.set_constraint(FixCom())
    thermalize_momenta(start, temperature_K=condition.temperature_K, rng=rng)
    return Walker(identifier, condition, start, step=0, rng=dict(rng.bit_generator.state))


@runtime_checkable
class Biased(Protocol):
    """A calculator with a running bias strength; set, it is used as it is for the next new evaluation."""

    bias_strength: float | None

    def reset(self) -> None:
        """Forget what was evaluated."""
        ...


@runtime_checkable
class Remembering(Protocol):
    """A calculator whose forces depend on the structure and on a memory, such as the hills of metadynamics.

    A walker that it moves resumes bit for bit where they depend on nothing else and the memory changes in `step` alone.
    """

    def memory(self) -> Any:
        """What to go on from: plain JSON."""
        ...

    def recall(self, memory: Any) -> None:
        """Go on from what `memory` gave; None: begin."""
        ...

    def step(self, atoms: Atoms) -> None:
        """Called with the present structure before every MD step."""
        ...


def advance(
    walker: Walker,
    calc: Calculator,
    steps: int,
    ensemble: Ensemble | None = None,
    *,
    stop: Callable[[Atoms, FloatArray], bool] | None = None,
    ramp: Ramp | None = None,
    stacked: Any = None,
) -> Walker:
    """Move a walker by `steps` steps.

    Parameters
    ----------
    walker : Walker
        Where it is; it stays as it is.
    calc : ase.calculators.calculator.Calculator
        Drives the motion. A Biased one (EntropyBias) is set to the walker's strength, and the returned walker carries
        the strength to go on with.
    steps : int
        At most so many.
    ensemble : Ensemble, optional
        Langevin() where none is given.
    stop : callable, optional
        Asked after each step with atoms and forces (N, 3) in eV/Å; the walker ends there where it says True. It ends
        too where forces are not finite, or where a step led to a structure that cannot be evaluated.
    ramp : Ramp, optional
        Temperature, pressure and cell by the walker's step; those of its condition where None.
    stacked : optional
        The part of `calc` that may have a memory: it is given the walker's where it is a Remembering one.

    Returns
    -------
    Walker

    Notes
    -----
    The trajectory is the same bit for bit however it is split, if the forces of `calc` depend on the
    structure alone, as those of CommitteeCalculator and EntropyBias do. Calculators with a history (the
    neighbour list with a skin in ASE's EMT, the last wavefunction in DFT) differ by rounding after a split.
    """
    how = ensemble or Langevin()
    atoms = walker.atoms.copy()
    generator = generator_from(walker.rng)
    if isinstance(calc, Biased):
        calc.bias_strength = walker.bias_strength
        calc.reset()  # the present frame is evaluated with just this strength, cached or not
    remembering = stacked if isinstance(stacked, Remembering) else None
    if remembering is not None:
        remembering.recall(deepcopy(walker.memory))
        calc.reset()
    atoms.calc = calc
    dynamics = how.integrator(atoms, _target(walker, ramp, walker.step), generator, walker.barostat)
    forces = atoms.get_forces(md=True)
    done = 0
    while done < steps:
        if ramp is not None and done:
            how.retarget(dynamics, _target(walker, ramp, walker.step + done))
        if remembering is not None:
            remembering.step(atoms)
        done += 1
        try:
            forces = dynamics.step(forces)
            if ramp is not None and ramp.deform(atoms, walker.step + done):
                forces = atoms.get_forces(md=True)
        except UnusableGeometry:  # the step led where no potential can be evaluated
            break
        if not np.isfinite(forces).all() or (stop is not None and stop(atoms, forces)):
            break
    atoms.calc = None
    return replace(
        walker,
        atoms=atoms,
        step=walker.step + done,
        rng=dict(generator.bit_generator.state),
        bias_strength=calc.bias_strength if isinstance(calc, Biased) else None,
        barostat=how.barostat_of(dynamics),
        memory=None if remembering is None else deepcopy(remembering.memory()),
    )


def _target(walker: Walker, ramp: Ramp | None, step: int) -> Condition:
    return walker.condition if ramp is None else ramp.condition(walker.condition, step)


def remember(walker: Walker, depth: int = 3) -> Walker:
    """The walker with its present state, known to be healthy, among those it can be sent back to.

    Parameters
    ----------
    walker : Walker
        It stays as it is.
    depth : int
        How many such states are kept.

    Returns
    -------
    Walker
    """
    entry = (walker.step, walker.atoms, walker.rng)
    return replace(walker, ring=(*walker.ring, entry)[-depth:])


def send_back(walker: Walker, start: Atoms, rng: np.random.Generator, ramp: Ramp | None = None) -> Walker:
    """The walker at its last healthy state, with momenta drawn anew.

    That state leaves the ring, so that a walker in trouble twice in a row goes back further. The step
    count runs on: it counts work done, not a place in the trajectory.

    Parameters
    ----------
    walker : Walker
        It stays as it is.
    start : ase.Atoms
        Where it goes if it has no healthy state.
    rng : numpy.random.Generator
        Draws the momenta and goes on with the walker.
    ramp : Ramp, optional
        The walker's, which goes on: momenta and cell are those of the present step.

    Returns
    -------
    Walker
    """
    atoms = walker.ring[-1][1].copy() if walker.ring else start.copy()
    if ramp is not None:
        ramp.deform(atoms, walker.step)
    fresh = init_walker(walker.id, _target(walker, ramp, walker.step), atoms, rng)
    return replace(
        fresh,
        condition=walker.condition,
        step=walker.step,
        ring=walker.ring[:-1],
        bias_strength=walker.bias_strength,
        memory=walker.memory,
    )


def generator_from(state: dict[str, Any]) -> np.random.Generator:
    """The NumPy generator whose bit generator is in `state`."""
    bits = np.random.PCG64()
    bits.state = state  # type: ignore[assignment]  # NumPy's stub wants a TypedDict
    return np.random.Generator(bits)
