"""Walkers on ASE's integrators: state in, state out.

A walker holds all that its next step depends on, the generator's state included, so that 50 + 50 steps are
100 steps bit for bit, in one process or in two with a crash between them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase.constraints import FixCom
from ase.md.langevin import Langevin as AseLangevin
from ase.md.velocitydistribution import thermalize_momenta

from tentpole.records import Condition, FloatArray, Walker
from tentpole.units import FS


@dataclass(frozen=True, slots=True)
class Langevin:
    """Langevin dynamics at constant volume (NVT). friction_per_fs 0.01 damps in 100 fs."""

    timestep_fs: float = 1.0
    friction_per_fs: float = 0.01

    def integrator(self, atoms: Atoms, condition: Condition, rng: np.random.Generator) -> Any:
        """ASE's integrator for `atoms`. Other ensembles are other classes with this one method."""
        return AseLangevin(
            atoms,
            timestep=self.timestep_fs * FS,
            temperature_K=condition.temperature_K,
            friction=self.friction_per_fs / FS,  # ASE's unit is inverse ASE time
            fixcm=False,
            rng=rng,
        )


def init_walker(id: str, condition: Condition, atoms: Atoms, rng: np.random.Generator) -> Walker:
    """A walker at step 0 with Maxwell-Boltzmann momenta at the condition's temperature."""
    start = atoms.copy()
    start.calc = None
    if not start.constraints:
        start.set_constraint(FixCom())
    thermalize_momenta(start, temperature_K=condition.temperature_K, rng=rng)
    return Walker(id, condition, start, step=0, rng=dict(rng.bit_generator.state))


@runtime_checkable
class Biased(Protocol):
    """A calculator with a running bias strength; set, it is used as it is for the next new evaluation."""

    bias_strength: float | None

    def reset(self) -> None: ...


def advance(
    walker: Walker,
    calc: Calculator,
    steps: int,
    ensemble: Langevin | None = None,
    *,
    stop: Callable[[Atoms, FloatArray], bool] | None = None,
) -> Walker:
    """The walker `steps` steps later, or earlier where `stop(atoms, forces)` says so after a step.

    `calc` drives the motion. A Biased one (EntropyBias) is set to the walker's strength, and the returned
    walker carries the strength to go on with.

    The trajectory is the same bit for bit however it is split, if the forces of `calc` depend on the
    structure alone, as those of CommitteeCalculator and EntropyBias do. Calculators with a history (the
    neighbour list with a skin in ASE's EMT, the last wavefunction in DFT) differ by rounding after a split.
    """
    atoms = walker.atoms.copy()
    generator = generator_from(walker.rng)
    if isinstance(calc, Biased):
        calc.bias_strength = walker.bias_strength
        calc.reset()  # the present frame is evaluated with just this strength, cached or not
    atoms.calc = calc
    dynamics = (ensemble or Langevin()).integrator(atoms, walker.condition, generator)
    forces = atoms.get_forces(md=True)
    done = 0
    while done < steps:
        forces = dynamics.step(forces)
        done += 1
        if stop is not None and stop(atoms, forces):
            break
    atoms.calc = None
    return replace(
        walker,
        atoms=atoms,
        step=walker.step + done,
        rng=dict(generator.bit_generator.state),
        bias_strength=calc.bias_strength if isinstance(calc, Biased) else None,
    )


def remember(walker: Walker, depth: int = 3) -> Walker:
    """The walker with its present state, known to be healthy, in its ring buffer."""
    entry = (walker.step, walker.atoms, walker.rng)
    return replace(walker, ring=(*walker.ring, entry)[-depth:])


def send_back(walker: Walker, start: Atoms, rng: np.random.Generator) -> Walker:
    """The walker at its last healthy state, or at `start` where it has none, with momenta drawn anew.

    That state leaves the ring, so that a walker in trouble twice in a row goes back further. The step
    count runs on: it counts work done, not a place in the trajectory.
    """
    atoms = walker.ring[-1][1].copy() if walker.ring else start.copy()
    fresh = init_walker(walker.id, walker.condition, atoms, rng)
    return replace(fresh, step=walker.step, ring=walker.ring[:-1], bias_strength=walker.bias_strength)


def generator_from(state: dict[str, Any]) -> np.random.Generator:
    """The NumPy generator whose bit generator is in `state`."""
    bits = np.random.PCG64()
    bits.state = state  # type: ignore[assignment]  # NumPy's stub wants a TypedDict
    return np.random.Generator(bits)
