"""One walker, one round: MD with a scored snapshot at fixed steps, and a way back out of trouble."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from tentpole.exploration.health import HealthLimits, Unhealthy, check
from tentpole.exploration.walker import Langevin, advance, init_walker, remember, send_back
from tentpole.records import Condition, FloatArray, Scores, Snapshot, Walker, bare, snapshot_id


@dataclass(frozen=True, slots=True)
class ExploreSettings:
    """steps per round, snapshot_every in steps; a frame whose largest atomic disagreement exceeds
    max_force_std_eV_per_A sends its walker back, like one that fails `health`."""

    steps: int = 500
    snapshot_every: int = 10
    max_force_std_eV_per_A: float = 5.0
    ensemble: Langevin = field(default_factory=Langevin)
    health: HealthLimits = field(default_factory=HealthLimits)


@dataclass(frozen=True, slots=True)
class Mishap:
    """A walker was sent back: at which step, the reason code, and the numbers."""

    step: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Exploration:
    """What one walker did in one round, or has done of it so far (`done` steps)."""

    round: int
    walker: Walker
    done: int = 0
    snapshots: tuple[Snapshot, ...] = ()
    scores: tuple[Scores, ...] = ()
    mishaps: tuple[Mishap, ...] = ()
    md_seconds: float = 0.0
    scoring_seconds: float = 0.0


Scorer = Callable[[Atoms], Scores]


def begin(round: int, id: str, condition: Condition, start: Atoms, seed: list[int]) -> Exploration:
    """The state before the first step of a new walker."""
    return Exploration(round, init_walker(id, condition, start, np.random.default_rng(seed)))


def back(state: Exploration, mishap: Mishap, start: Atoms, seed: list[int]) -> Exploration:
    """The state with its walker sent back, as in `send_back`; `seed` and the count of mishaps seed the momenta."""
    rng = np.random.default_rng([*seed, 1 + len(state.mishaps)])  # [*seed, 0] is [*seed] to NumPy: `begin` has that
    walker = send_back(state.walker, start, rng)
    return replace(state, walker=walker, mishaps=(*state.mishaps, mishap))


def explore(
    state: Exploration,
    driver: Calculator,
    physical: Callable[[Atoms], tuple[float, FloatArray]],
    scorer: Scorer,
    start: Atoms,
    settings: ExploreSettings,
    seed: list[int],
    on_progress: Callable[[Exploration], None] = lambda state: None,
) -> Exploration:
    """Run `state` to the end of its round. Same arguments, same result, bit for bit.

    driver : moves the atoms (biased or not).
    physical : energy and forces of the unbiased potential, which health is judged by.
    scorer : scores of a frame.
    seed : with the count of mishaps it seeds the momenta of a walker that is sent back.
    on_progress : called after each snapshot or mishap with the state, which may be saved and gone on from.
    """
    start_energy, _ = physical(start)
    start_volume = float(start.get_volume()) if start.pbc.all() else None
    limits = settings.health

    def trouble(atoms: Atoms, energy: float, forces: FloatArray) -> Unhealthy | None:
        return check(
            atoms,
            energy,
            forces,
            limits,
            temperature_K=state.walker.condition.temperature_K,
            start_energy=start_energy,
            start_volume=start_volume,
        )

    def blown_up(atoms: Atoms, forces: FloatArray) -> bool:
        largest = float((forces * forces).sum(axis=1).max())
        return not largest <= limits.max_force_eV_per_A**2  # true for NaN as well

    while state.done < settings.steps:
        began = time.perf_counter()
        steps = min(settings.snapshot_every, settings.steps - state.done)
        walker = advance(state.walker, driver, steps, settings.ensemble, stop=blown_up)
        moved = time.perf_counter()
        energy, forces = physical(walker.atoms)
        wrong = trouble(walker.atoms, energy, forces)
        scores = None
        if wrong is None:
            scores = scorer(walker.atoms)
            if not scores.max_force_std <= settings.max_force_std_eV_per_A:
                wrong = Unhealthy(
                    "too uncertain",
                    f"largest atomic disagreement {scores.max_force_std:.2f} eV/Å > "
                    f"{settings.max_force_std_eV_per_A:g}{scores.failed and ': ' + scores.failed}",
                )
        done = state.done + walker.step - state.walker.step
        state = replace(
            state,
            done=done,
            md_seconds=state.md_seconds + moved - began,
            scoring_seconds=state.scoring_seconds + time.perf_counter() - moved,
        )
        if wrong is None and scores is not None:
            snapshot = Snapshot(
                id=snapshot_id(state.round, walker.id, walker.step),
                atoms=bare(walker.atoms),
                condition=walker.condition,
                walker=walker.id,
                round=state.round,
                step=walker.step,
            )
            state = replace(
                state,
                walker=remember(walker),
                snapshots=(*state.snapshots, snapshot),
                scores=(*state.scores, scores),
            )
        elif wrong is not None:
            mishap = Mishap(walker.step, wrong.reason, wrong.message)
            state = back(replace(state, walker=replace(walker, ring=state.walker.ring)), mishap, start, seed)
        on_progress(state)
    return state
