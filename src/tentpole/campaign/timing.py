"""What training and MD will cost, by a moment of each: frames that are rattled, labels that are made up."""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from tentpole.campaign.plan import Line, Plan
from tentpole.config.schema import CampaignConfig, LocalSection, LocalTrainingSection
from tentpole.training.schedule import most_updates
from tentpole.units import duration

FRAMES = 20
"""Made-up labels that are trained on for a moment."""
SHORT_S = 2.0


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
        Wall time of a step of MD of one walker, by the driver alone.
    setup_s : float
        Wall time that a training takes beside its updates.
    """

    update_s: float
    together: int
    groups: int
    step_s: float
    setup_s: float = 0.0


def measured(config: CampaignConfig, starts: Mapping[str, Atoms]) -> Cost | None:
    """Train and step for a moment; None where members are not trained by Tentpole's own loop here."""
    local = isinstance(config.training_executor, LocalTrainingSection)
    if config.training.loop != "stacked" or config.committee.kind == "shallow" or not local:
        return None
    from tentpole.committee.member_files import write_member
    from tentpole.storage.structures import write_frames
    from tentpole.training.committee import groups
    from tentpole.training.frames import isolated_energies
    from tentpole.training.jobs import TrainingJob
    from tentpole.training.stacked import Training, seconds_per_update

    settings = config.training.build()
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
        write_member(folder / "untrained", model, training={})
        return Cost(update_s, len(together[0]), len(together), _step_s(config, starts, folder / "untrained"), setup_s)


def _step_s(config: CampaignConfig, starts: Mapping[str, Atoms], member: Path) -> float:
    from tentpole.committee import Committee, CommitteeCalculator

    votes = config.committee.members if config.committee.driver == "mean" else 1
    largest = max(starts.values(), key=len).copy()
    largest.calc = CommitteeCalculator(Committee.load([member], dtype=config.committee.dtype), 0)
    generator, seconds = np.random.default_rng(0), []
    for _ in range(6):
        largest.positions += generator.normal(0.0, 1e-3, largest.positions.shape)
        began = time.monotonic()
        largest.get_forces()
        seconds.append(time.monotonic() - began)
    return votes * float(np.median(seconds[1:]))


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
        return settings.updates_of(labels, warm=warm) * cost.update_s * turns + cost.setup_s

    labels = label_s or 0.0
    md = math.ceil(plan.walkers / cores) * config.explore.steps * cost.step_s
    warm = config.training.warm_start
    first = (plan.initial + plan.validation) * labels / places + training(plan.initial, warm=False)
    rounds = 5 if plan.rounds is None else plan.rounds
    known = [plan.initial + (n + 1) * plan.batch for n in range(rounds)]
    each = [md + plan.batch * labels / places + training(n, warm=warm) for n in known]
    members = "1 member" if cost.together == 1 else f"{cost.together} members"
    words = (
        f"{1000 * cost.update_s:.3g} ms an update of {members}, {1000 * cost.step_s:.3g} ms a step of MD: first "
        f"committee after {duration(first)}, then {duration(each[0])} a round"
    )
    if len(each) > 1:
        words += f", {duration(each[-1])} the {'last' if plan.rounds is not None else 'fifth'}"
    if plan.rounds is not None:
        words += f"; {duration(first + sum(each))} in all"
    if config.training.finishing and known:
        most = most_updates(settings.updates_of(known[-1], warm=False), settings.max_updates)
        words += f", and at most {duration(most * cost.update_s * turns)} for a last training to the plateau"
    words += " (with labels; measured for a moment, and programs take some seconds to start)"
    yield Line("a round takes", True, words)


def _cores(config: CampaignConfig) -> int:
    section = config.executor
    here = len(os.sched_getaffinity(0))
    return max(1, min(here, section.workers or here)) if isinstance(section, LocalSection) else here
