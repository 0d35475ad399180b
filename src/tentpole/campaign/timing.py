"""What training and MD will cost, by a moment of each: frames that are rattled, labels that are made up."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from ase import Atoms

from tentpole.campaign.exploring import walkers_together
from tentpole.campaign.plan import Line, Plan
from tentpole.config.checks import can_finish
from tentpole.config.schema import CampaignConfig, LocalSection, LocalTrainingSection
from tentpole.config.walkers import turns_of
from tentpole.training.schedule import most_updates
from tentpole.units import duration

FRAMES = 20
"""Made-up labels that are trained on for a moment."""
SHORT_S = 2.0
WORTH_SAYING = 1.25
"""Ratio of two times of a moment that is no chance."""
MOST_TOGETHER = 16
"""Walkers that are tried side by side."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Measured on this machine.

    Parameters
    ----------
    update_s : float
        Wall time of an update of the members that train as one.
    together, groups : int
        How many members those are, and how many such trainings a committee needs.
    step_s : float
        Wall time of a step of MD of one walker by itself, by the driver alone.
    side_by_side, side_by_side_s : int, float
        Walkers of which every core would have so many, and the wall time of a step of each of them in one process.
    as_set : int
        How many the campaign file has in a process.
    setup_s : float
        Wall time that a training takes beside its updates.
    import_s : float
        Wall time that a process takes to import what trains, before the first committee.
    solve_s : float
        Wall time for each label where those members are solved for.
    weights : int
        Of a member that is solved for.
    """

    update_s: float
    together: int
    groups: int
    step_s: float
    setup_s: float = 0.0
    side_by_side: int = 1
    side_by_side_s: float = math.inf
    as_set: int = 1
    import_s: float = 0.0
    solve_s: float = 0.0
    weights: int = 0

    @property
    def walker_step_s(self) -> float:
        """Wall time of a step of one walker as the campaign file has them advance."""
        return self.step_s if min(self.as_set, self.side_by_side) == 1 else self.side_by_side_s

    @property
    def best_together(self) -> int:
        """How many walkers should advance in a process."""
        return self.side_by_side if self.side_by_side_s < self.step_s else 1


def measured(config: CampaignConfig, starts: Mapping[str, Atoms], import_s: float = 0.0) -> Cost | None:
    """Train and step for a moment; None where members are not trained by Tentpole's own loop here.

    import_s : seconds that this process has taken to import mace, where it has.
    """
    local = isinstance(config.training_executor, LocalTrainingSection)
    if config.training.loop != "stacked" or config.committee.kind == "shallow" or not local:
        return None
    began = time.monotonic()
    from tentpole.committee.member_files import write_member
    from tentpole.storage.structures import write_frames
    from tentpole.training.committee import groups
    from tentpole.training.frames import isolated_energies
    from tentpole.training.jobs import TrainingJob
    from tentpole.training.linear import tried, unchanged
    from tentpole.training.stacked import Training, seconds_per_update

    import_s += time.monotonic() - began
    settings, change = config.training.build(), None
    with tempfile.TemporaryDirectory(prefix="tentpole-timing-") as name:
        folder = Path(name)
        frames = _made_up(starts)
        train = folder / "train.extxyz"
        write_frames(train, frames)
        members = range(config.committee.members)
        jobs = [TrainingJob(m, m, train, None, folder, folder / f"member-{m}") for m in members]
        together = groups(jobs, settings)
        energies = isolated_energies(settings, frames)
        with redirect_stdout(None):
            began = time.monotonic()
            update_s = seconds_per_update(together[0], settings, energies, SHORT_S)
            setup_s = max(0.0, time.monotonic() - began - SHORT_S)
            model = Training(together[0][:1], settings, energies).models[0]
            solve_s, weights = 0.0, 0
            if settings.solve != "no":
                write_member(folder / "start", model, training={})
                solve_s, weights = tried(replace(jobs[0], warm_start=folder / "start"), settings, energies)
                solve_s *= 1 if settings.solve == "instead" else len(together[0])
                update_s = 0.0 if settings.solve == "instead" else update_s
                model, change = unchanged(model)
        write_member(folder / "untrained", model, training={}, linear=change)
        walkers = max(turns_of(config), key=len)
        many = min(MOST_TOGETHER, -(-len(walkers) // _cores(config)))
        member = folder / "untrained"
        alone, side = (_step_s(config, starts, member, n) for n in (1, many))
        atoms = [len(starts[walker.condition.structure]) for walker in walkers]
        as_set = walkers_together(config, atoms, _cores(config))
        return Cost(
            update_s, len(together[0]), len(together), alone, setup_s, many, side, as_set, import_s, solve_s, weights
        )


def _step_s(config: CampaignConfig, starts: Mapping[str, Atoms], member: Path, together: int) -> float:
    """Wall time of a step of each of so many walkers of the largest structure side by side, by the driver alone."""
    from tentpole.committee import Committee, CommitteeCalculator
    from tentpole.exploration.lockstep import Lockstep
    from tentpole.training.network_voter import faster

    votes = config.committee.members if config.committee.driver == "mean" else 1
    lockstep, committee = Lockstep(), Committee.load([member], dtype=config.committee.dtype)
    if config.committee.evaluation == "own":
        committee = faster(committee)
    shared = Committee([lockstep.shared(voter) for voter in committee.voters])
    frames = [max(starts.values(), key=len).copy() for _ in range(together)]
    for atoms in frames:
        atoms.calc = CommitteeCalculator(shared, 0)
    generator, seconds = np.random.default_rng(0), []
    for _ in range(6):
        for atoms in frames:
            atoms.positions += generator.normal(0.0, 1e-3, atoms.positions.shape)
        began = time.monotonic()
        lockstep.run([atoms.get_forces for atoms in frames])
        seconds.append(time.monotonic() - began)
    return votes * float(np.median(seconds[1:])) / together


def _made_up(starts: Mapping[str, Atoms]) -> list[Atoms]:
    """Rattled starting structures with small forces and energies: an update takes as long whatever they are."""
    generator, frames, structures = np.random.default_rng(0), [], list(starts.values())
    for k in range(FRAMES):
        atoms = structures[k % len(structures)].copy()
        atoms.constraints = []
        atoms.positions += generator.normal(0.0, 0.05, atoms.positions.shape)
        atoms.info["REF_energy"] = float(generator.normal(0.0, 0.01)) * len(atoms)
        atoms.arrays["REF_forces"] = generator.normal(0.0, 0.1, atoms.positions.shape)
        if atoms.pbc.all():
            atoms.info["REF_stress"] = generator.normal(0.0, 1e-3, 6)
        frames.append(atoms)
    return frames


def cost_lines(config: CampaignConfig, plan: Plan, cost: Cost, label_s: float | None, places: int) -> Iterator[Line]:
    """What a round will take, and the campaign: training, MD and labels together."""
    settings, cores = config.training.build(), _cores(config)
    turns = math.ceil(cost.groups / cores)

    def training(labels: int, *, warm: bool) -> float:
        each = settings.updates_of(labels, warm=warm) * cost.update_s + labels * cost.solve_s
        return each * turns + cost.setup_s

    labels = label_s or 0.0
    md = math.ceil(plan.walkers / cores) * config.explore.steps * cost.walker_step_s
    warm = config.training.warm_start
    first = (plan.initial + plan.validation) * labels / places + cost.import_s + training(plan.initial, warm=False)
    rounds = 5 if plan.rounds is None else plan.rounds
    known = [plan.initial + (n + 1) * plan.batch for n in range(rounds)]
    each = [md + plan.batch * labels / places + training(n, warm=warm) for n in known]
    members = "1 member" if cost.together == 1 else f"{cost.together} members"
    told = [f"{1000 * cost.update_s:.3g} ms an update of {members}"] if cost.update_s else []
    told += [f"{1000 * cost.solve_s:.3g} ms a label to solve for"] if cost.solve_s else []
    words = (
        f"{', '.join(told)}, {1000 * cost.walker_step_s:.3g} ms a step of MD: first "
        f"committee after {duration(first)}, then {duration(each[0])} a round"
    )
    if len(each) > 1:
        words += f", {duration(each[-1])} the {'last' if plan.rounds is not None else 'fifth'}"
    if plan.rounds is not None:
        words += f"; {duration(first + sum(each))} in all"
    if can_finish(config) and known:
        most = most_updates(settings.updates_of(known[-1], warm=False), settings.max_updates)
        words += f", and at most {duration(most * cost.update_s * turns)} for a last training to the plateau"
    words += " (with labels; measured for a moment, and programs take some seconds to start)"
    yield Line("a round takes", True, words)
    if cost.weights:
        yield _solving_line(cost.weights, known[-1] if known else plan.initial)
    if cost.side_by_side > 1:
        yield _walkers_line(cost)


def _solving_line(weights: int, labels: int) -> Line:
    """Whether there is room for what must be solved for."""
    from tentpole.training.linear import ENERGY_AND_VIRIAL, room_for

    room = room_for(weights)
    words = f"{room} labelled numbers at most of a member with {weights} weights; with more, force components are drawn"
    if room > ENERGY_AND_VIRIAL * labels:  # which stay
        return Line("solving", True, words)
    remedy = f'{labels} labels have too many energies: set [training] solve = "no", or take a smaller size'
    return Line("solving", False, f"{words}. {remedy}")


def _walkers_line(cost: Cost) -> Line:
    """How walkers advance, by which way takes less time on the user's own structure."""
    words = (
        f"a step of each takes {1000 * cost.side_by_side_s:.3g} ms with {cost.side_by_side} in a process and "
        f"{1000 * cost.step_s:.3g} ms by itself"
    )
    slow = cost.walker_step_s > WORTH_SAYING * min(cost.step_s, cost.side_by_side_s)
    if slow:
        words += f": set [executor] walkers_together = {cost.best_together}"
    return Line("walkers", True, words, doubtful=slow)


def _cores(config: CampaignConfig) -> int:
    section = config.executor
    here = len(os.sched_getaffinity(0))
    return max(1, min(here, section.workers or here)) if isinstance(section, LocalSection) else here
