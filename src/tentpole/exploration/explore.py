"""One walker, one round: MD with a scored snapshot at fixed steps, and a way back out of trouble."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from tentpole.committee.neighbourhood import UnusableGeometry, check_finite
from tentpole.exploration.health import HealthLimits, Unhealthy, check, shortest_height
from tentpole.exploration.ramps import Ramp
from tentpole.exploration.random_numbers import WalkerSeed
from tentpole.exploration.walker import Ensemble, Langevin, advance, init_walker, remember, send_back
from tentpole.records import Condition, FloatArray, Scores, Snapshot, Walker, bare, snapshot_id

Scorer = Callable[[Atoms], Scores]
Potential = Callable[[Atoms], tuple[float, FloatArray]]


@dataclass(frozen=True, slots=True)
class ExploreSettings:
    """How one walker spends one round.

    Parameters
    ----------
    steps : int
        MD steps per round.
    snapshot_every : int
        Steps between snapshots.
    max_force_std_eV_per_A : float
        A frame whose largest atomic disagreement exceeds this sends its walker back, like one that fails `health`.
    ensemble : Ensemble
        Thermostat and barostat.
    health : HealthLimits
        Bounds outside which a walker is sent back.
    keep_last_sound : bool
        Keep the last sound frame before a walker is sent back, where that lies between two snapshots: it is where
        the potential is about to fail.
    ramp : Ramp, optional
        Temperature, pressure and cell by the walker's step; those of its condition where None.
    """

    steps: int = 500
    snapshot_every: int = 10
    max_force_std_eV_per_A: float = 5.0
    ensemble: Ensemble = field(default_factory=Langevin)
    health: HealthLimits = field(default_factory=HealthLimits)
    keep_last_sound: bool = True
    ramp: Ramp | None = None


@dataclass(frozen=True, slots=True)
class Mishap:
    """A walker was sent back.

    Parameters
    ----------
    step : int
        At which step.
    reason : str
        A short code, for counting.
    message : str
        The numbers, in words.
    """

    step: int
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Exploration:
    """What one walker did in one round, or has done of it so far.

    Parameters
    ----------
    round : int
        The round.
    walker : Walker
        Where it is.
    done : int
        Steps of this round.
    snapshots, scores : tuple of Snapshot, tuple of Scores
        What was stored, and how it was scored.
    mishaps : tuple of Mishap
        How often it was sent back, and why.
    md_seconds, scoring_seconds : float
        What that cost, s.
    """

    round: int
    walker: Walker
    done: int = 0
    snapshots: tuple[Snapshot, ...] = ()
    scores: tuple[Scores, ...] = ()
    mishaps: tuple[Mishap, ...] = ()
    md_seconds: float = 0.0
    scoring_seconds: float = 0.0

    def followed_by(self, longer: Exploration) -> Exploration:
        """Join one that went on from its end.

        Parameters
        ----------
        longer : Exploration
            Of the same walker in the same round.

        Returns
        -------
        Exploration
        """
        return Exploration(
            self.round,
            longer.walker,
            self.done + longer.done,
            self.snapshots + longer.snapshots,
            self.scores + longer.scores,
            self.mishaps + longer.mishaps,
            self.md_seconds + longer.md_seconds,
            self.scoring_seconds + longer.scoring_seconds,
        )

    def with_snapshot(self, walker: Walker, scores: Scores, *, before_mishap: bool = False) -> Exploration:
        """The exploration with the walker's present frame among its snapshots.

        Parameters
        ----------
        walker : Walker
            Whose frame it is.
        scores : Scores
            Of the frame.
        before_mishap : bool
            Whether it is the last sound frame before the walker is sent back.

        Returns
        -------
        Exploration
        """
        snapshot = Snapshot(
            id=snapshot_id(self.round, walker.id, walker.step),
            atoms=bare(walker.atoms),
            condition=walker.condition,
            walker=walker.id,
            round=self.round,
            step=walker.step,
            before_mishap=before_mishap,
        )
        return replace(self, snapshots=(*self.snapshots, snapshot), scores=(*self.scores, scores))


def begin(
    number: int, identifier: str, condition: Condition, start: Atoms, seed: WalkerSeed, ramp: Ramp | None = None
) -> Exploration:
    """The state of a round before the first step of a new walker.

    Parameters
    ----------
    number : int
        The round.
    identifier : str
        The walker's.
    condition : Condition
        Its temperature and pressure.
    start : ase.Atoms
        Where it starts.
    seed : WalkerSeed
        Seeds its momenta.
    ramp : Ramp, optional
        The walker's, whose first cell `start` is brought to.

    Returns
    -------
    Exploration
    """
    if ramp is not None:
        start = start.copy()
        ramp.deform(start, 0)
    return Exploration(number, init_walker(identifier, condition, start, seed.begin()))


def back(state: Exploration, mishap: Mishap, start: Atoms, seed: WalkerSeed, ramp: Ramp | None = None) -> Exploration:
    """The state with its walker sent back, as in `send_back`.

    Parameters
    ----------
    state : Exploration
        It stays as it is.
    mishap : Mishap
        Why.
    start : ase.Atoms
        Where the walker goes if it has no healthy state.
    seed : WalkerSeed
        Seeds the momenta, with the count of mishaps.
    ramp : Ramp, optional
        The walker's.

    Returns
    -------
    Exploration
    """
    walker = send_back(state.walker, start, seed.sent_back(len(state.mishaps)), ramp)
    return replace(state, walker=walker, mishaps=(*state.mishaps, mishap))


def explore(
    state: Exploration,
    driver: Calculator,
    physical: Potential,
    scorer: Scorer,
    start: Atoms,
    settings: ExploreSettings,
    seed: WalkerSeed,
    on_progress: Callable[[Exploration], None] = lambda _state: None,
    clock: Callable[[], float] = time.perf_counter,
    stacked: Any = None,
) -> Exploration:
    """Run `state` to the end of its round. Same arguments, same result, bit for bit.

    Parameters
    ----------
    state : Exploration
        The round so far.
    driver : ase.calculators.calculator.Calculator
        Moves the atoms (biased or not).
    physical : callable
        Energy in eV and forces (N, 3) in eV/Å of the unbiased potential, which health is judged by.
    scorer : callable
        Scores of a frame.
    start : ase.Atoms
        Where a walker without a healthy state goes back to.
    settings : ExploreSettings
    seed : WalkerSeed
        With the count of mishaps it seeds the momenta of a walker that is sent back.
    on_progress : callable
        Called after each snapshot or mishap with the state, which may be saved and gone on from.
    clock : callable
        Seconds, for the times that are written down.
    stacked : optional
        The part of `driver` that may have a memory, see `advance`.

    Returns
    -------
    Exploration
        With `settings.steps` steps done.

    Raises
    ------
    UnusableGeometry
        Where the walker stands, or is to start, in a structure that no potential can be evaluated on.
    """
    judge = _Judge(physical, scorer, start, settings)
    move = partial(
        advance, calc=driver, ensemble=settings.ensemble, stop=judge.blown_up, ramp=settings.ramp, stacked=stacked
    )
    while state.done < settings.steps:
        began = clock()
        steps = min(settings.snapshot_every, settings.steps - state.done)
        before = state
        walker = move(state.walker, steps=steps)
        moved = clock()
        scores, wrong = judge(walker)
        state = replace(state, done=state.done + walker.step - state.walker.step)
        if wrong is None:
            state = replace(state.with_snapshot(walker, scores), walker=remember(walker))
        else:
            if settings.keep_last_sound:
                state = _with_last_sound(state, before.walker, walker.step, move, judge)
            mishap = Mishap(walker.step, wrong.reason, wrong.message)
            state = back(
                replace(state, walker=replace(walker, ring=before.walker.ring)), mishap, start, seed, settings.ramp
            )
        state = replace(
            state,
            md_seconds=state.md_seconds + moved - began,
            scoring_seconds=state.scoring_seconds + clock() - moved,
        )
        on_progress(state)
    return state


class _Judge:
    """Whether a walker's frame is healthy and not too uncertain, and its scores."""

    def __init__(self, physical: Potential, scorer: Scorer, start: Atoms, settings: ExploreSettings) -> None:
        self.settings, self.limits = settings, settings.health
        self._physical, self._scorer = physical, scorer
        self._start_energy, _ = physical(start)
        periodic = bool(start.pbc.all())
        self._start_volume = float(start.get_volume()) if periodic else None
        self._start_height = shortest_height(start) if periodic else None
        self._start_angles = start.cell.angles() if periodic else None

    def __call__(self, walker: Walker) -> tuple[Scores, Unhealthy | None]:
        """The frame's scores, which count only where nothing is wrong, and what is wrong with it."""
        try:
            check_finite(walker.atoms.positions, walker.atoms.cell.array)
            energy, forces = self._physical(walker.atoms)
        except UnusableGeometry as error:
            return _NO_SCORES, Unhealthy("non-finite", str(error))
        wrong = check(
            walker.atoms,
            energy,
            forces,
            self.limits,
            temperature_K=self._temperature_K(walker),
            start_energy=self._start_energy,
            start_volume=self._start_volume,
            start_height=self._start_height,
            start_angles=self._start_angles,
        )
        if wrong is not None:
            return _NO_SCORES, wrong
        scores = self._scorer(walker.atoms)
        limit = self.settings.max_force_std_eV_per_A
        if not scores.max_force_std <= limit:
            return scores, Unhealthy(
                "too uncertain",
                f"largest atomic disagreement {scores.max_force_std:.2f} eV/Å > "
                f"{limit:g}{scores.failed and ': ' + scores.failed}",
            )
        return scores, None

    def _temperature_K(self, walker: Walker) -> float:
        ramp = self.settings.ramp
        return (walker.condition if ramp is None else ramp.condition(walker.condition, walker.step)).temperature_K

    def blown_up(self, _: Atoms, forces: FloatArray) -> bool:
        """Whether a force on an atom is beyond the limit of health, or not finite."""
        largest = float((forces * forces).sum(axis=1).max())
        return not largest <= self.limits.max_force_eV_per_A**2


_NO_SCORES = Scores(np.nan, np.nan, np.nan, np.nan, np.nan, failed="not scored")


def _with_last_sound(
    state: Exploration, healthy: Walker, bad_step: int, move: Callable[..., Walker], judge: _Judge
) -> Exploration:
    """The state with the last sound frame after `healthy` and before `bad_step`, found by bisection, if there is one.

    The stretch is run again from its healthy start; that it turns from sound to unsound once is assumed.
    """
    sound: tuple[Walker, Scores] | None = None
    low, high = 0, bad_step - healthy.step
    while high - low > 1:
        middle = (low + high) // 2
        walker = move(healthy, steps=middle)
        scores, wrong = judge(walker)
        if wrong is None and walker.step == healthy.step + middle:
            low, sound = middle, (walker, scores)
        else:
            high = middle
    return state if sound is None else state.with_snapshot(*sound, before_mishap=True)
