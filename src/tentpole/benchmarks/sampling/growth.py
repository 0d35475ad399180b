"""One policy under one draw: choose, label, train, test, size after size. Every step is whole or done again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tentpole.benchmarks.sampling.choosing import Chooser
from tentpole.benchmarks.sampling.config import POOL, VERSION, PolicySection, Study
from tentpole.benchmarks.sampling.driving import Bias, Trajectory, candidates_in, md_seconds, walk
from tentpole.benchmarks.sampling.paths import RunPaths, SizePaths, StudyPaths, read_versioned
from tentpole.benchmarks.sampling.sets import explore_settings, labelled_set, set_errors
from tentpole.committee.isolated_energies import refitted_energies
from tentpole.errors import TentpoleError
from tentpole.exploration import WalkerSeed
from tentpole.exploration.initial import rattled
from tentpole.labeling import Task, compute
from tentpole.records import Condition, Snapshot, snapshot_id
from tentpole.storage.atomic import write_json
from tentpole.storage.labels import find_label, read_label
from tentpole.storage.structures import labelled_atoms, write_frames
from tentpole.training import TrainingJob, train_committee
from tentpole.training.readouts import first_settings

DONE = "done.json"
PRETRAINED = 5000
"""Seeds of pretrained members begin there."""
RATTLED_A = (0.05, 0.1, 0.2)
"""Displacements of the structures from which a committee's first frames are chosen, Å."""


def trajectories(
    study: Study,
    policy: PolicySection,
    draw: int,
    number: int,
    files: Sequence[Path],
    driver: Any,
    known: Sequence[Snapshot] = (),
) -> list[Trajectory]:
    """The MD of a policy, one per condition, written to `files`; `number` tells one MD of a draw from the next.

    known : the training frames so far; where there are none, the starting structures are what is known.
    """
    explore = study.config.explore
    bias = None
    if policy.ratio > 0:
        dataset = tuple(shot.atoms for shot in known) or tuple(study.starts.values())
        bias = Bias(policy.ratio, policy.entropy, policy.bias_eps, study.config.fingerprint.build(), dataset)
    return [
        Trajectory(
            file=file,
            id=walker.id,
            seed=WalkerSeed(draw, number, walker.place),
            condition=walker.condition,
            start=study.starts[walker.condition.structure],
            driver=driver,
            state=study.state(walker.condition.structure),
            settings=explore_settings(study, walker, explore.steps, explore.snapshot_every),
            bias=bias,
        )
        for walker, file in zip(study.walkers, files, strict=True)
    ]


def shared_trajectories(study: Study, paths: StudyPaths, policy: PolicySection, draw: int) -> list[Trajectory]:
    """The MD of a policy that a reference drives, which other policies may share; none where committees drive."""
    if study.driver is None:
        return []
    files = [paths.trajectory(policy.drive, draw, walker.id) for walker in study.walkers]
    return trajectories(study, policy, draw, 1, files, study.driver)


def pretrain(study: Study, folder: Path, draw: int, workers: int = 1) -> None:
    """Train a draw's members on the cheap reference's frames, unless they are there."""
    section, paths = study.config.pretraining, StudyPaths(folder)
    here = paths.pretrained(draw)
    if section is None or (here / DONE).is_file():
        return
    (here / "logs").mkdir(parents=True, exist_ok=True)
    jobs = [
        TrainingJob(k, 10_000 * draw + PRETRAINED + k, paths.cheap, None, here / "logs", here / f"member-{k}")
        for k in range(study.config.members)
    ]
    naive: dict[str, Any] = {"frozen": False, "finetuning": "naive", "solve": "no"}
    settings = replace(study.config.training, updates=section.updates, epochs=None, **naive)
    reports = train_committee(jobs, settings, workers)
    write_json(here / DONE, {"version": VERSION, "training_seconds": sum(report.seconds for report in reports)})


@dataclass
class Grown:
    """What a policy has so far: its training frames and the candidates that are left."""

    known: list[Snapshot]
    candidates: list[Snapshot]
    models: Path | None = None


class Growth:
    """A run of one policy under one draw.

    Parameters
    ----------
    study : Study
    folder : Path
        Of the study; its test sets are made and labelled.
    name : str
        The policy's.
    draw : int
        The seed.
    workers : int
        Trainings at a time.
    """

    def __init__(self, study: Study, folder: Path, name: str, draw: int, workers: int = 1) -> None:
        self.study, self.paths, self.name, self.draw, self.workers = study, StudyPaths(folder), name, draw, workers
        self.policy = study.config.policies[name]
        self.run_paths: RunPaths = self.paths.run(name, draw)
        self._chooser = Chooser(study, self.policy)
        self._teacher = study.teacher

    def run(self) -> None:
        """All sizes, each chosen, labelled, trained and tested; what is done is not done again."""
        files = [job.file for job in shared_trajectories(self.study, self.paths, self.policy, self.draw)]
        start = None if self.study.config.pretraining is None else self.paths.pretrained(self.draw)
        grown = Grown([], candidates_in(files, self.study.config.explore.equilibration), start)
        for stage, size in enumerate(self.study.config.sizes):
            here = self.run_paths.size(size)
            if self.study.driver is None:
                grown.candidates = self._own_candidates(stage, here, grown)
            self._choose(stage, size, here, grown)
            self._train(stage, here, grown)
            self._test(here)
            grown.models = here.models

    def _own_candidates(self, stage: int, here: SizePaths, grown: Grown) -> list[Snapshot]:
        """Candidates of a committee that drives: rattled structures, then what the last models' MD visits."""
        if grown.models is None:
            return self._rattled()
        files = [here.trajectory(walker.id) for walker in self.study.walkers]
        for job in trajectories(self.study, self.policy, self.draw, 1 + stage, files, grown.models, grown.known):
            walk(job)
        return candidates_in(files, self.study.config.explore.equilibration)

    def _rattled(self) -> list[Snapshot]:
        first: dict[str, Condition] = {}
        for walker in self.study.walkers:
            first.setdefault(walker.condition.structure, walker.condition)
        starts = {name: self.study.starts[name] for name in first}
        rng = np.random.default_rng(np.random.SeedSequence(self.draw, spawn_key=(1,)))
        strains = np.random.default_rng(np.random.SeedSequence(self.draw, spawn_key=(2,)))
        made = rattled(starts, POOL * self.study.config.sizes[0], RATTLED_A, rng, None, strains)
        return [
            Snapshot(snapshot_id(0, "rattled", i), atoms, first[name], "rattled", 0, i)
            for i, (name, atoms) in enumerate(made)
        ]

    def _choose(self, stage: int, size: int, here: SizePaths, grown: Grown) -> None:
        """Let frames join until there are `size`, from what was chosen before or anew."""
        if not here.chosen.is_file():
            write_json(here.chosen, self._chosen(stage, size, grown))
        content = read_versioned(here.chosen, VERSION)
        by_id = {shot.id: shot for shot in grown.candidates}
        grown.known += [by_id[name] for name in content["joined"]]
        gone = {*content["joined"], *content["failed"]}
        grown.candidates = [shot for shot in grown.candidates if shot.id not in gone]

    def _chosen(self, stage: int, size: int, grown: Grown) -> dict[str, Any]:
        pool, joined, failed = list(grown.candidates), list[Snapshot](), list[str]()
        reasons: list[str] = []
        choosing = labelling = 0.0
        rng = np.random.default_rng(np.random.SeedSequence(self.draw, spawn_key=(3, stage)))
        while (missing := size - len(grown.known) - len(joined)) > 0:
            began = time.perf_counter()
            picks = self._chooser.choose(pool, [*grown.known, *joined], missing, rng, grown.models)
            chosen = time.perf_counter()
            if not picks:
                raise TentpoleError(
                    f"there are {len(grown.known) + len(joined)} training frames, {size} are asked for, and of "
                    f"{len(pool)} candidates none is left that the rule takes ({len(failed)} got no label). Raise "
                    "explore.steps, or take smaller sizes."
                )
            for pick in picks:
                shot = pool[pick.index]
                if self._labelled(shot):
                    joined.append(shot)
                    reasons.append(pick.reason)
                else:
                    failed.append(shot.id)
            taken = {pick.index for pick in picks}
            pool = [shot for i, shot in enumerate(pool) if i not in taken]
            choosing, labelling = choosing + chosen - began, labelling + time.perf_counter() - chosen
        return {
            "version": VERSION,
            "joined": [shot.id for shot in joined],
            "failed": failed,
            "reasons": reasons,
            "conditions": dict(Counter(str(shot.condition) for shot in joined)),
            "candidates": len(grown.candidates),
            "choosing_seconds": choosing,
            "labelling_seconds": labelling,
        }

    def _task(self, shot: Snapshot) -> Task:
        state = self.study.state(shot.condition.structure)
        return Task(self.paths.root, self._teacher, shot.atoms, *state, root_exists=True)

    def _labelled(self, shot: Snapshot) -> bool:
        """Label a frame, unless it is; whether it has one."""
        return compute(self._task(shot)).ok

    def _train(self, stage: int, here: SizePaths, grown: Grown) -> None:
        if here.done.is_file():
            read_versioned(here.done, VERSION)
            return
        config = self.study.config
        labels = [find_label(self.paths.root, self._task(shot).structure, self._teacher.hash) for shot in grown.known]
        if lost := [shot.id for shot, path in zip(grown.known, labels, strict=True) if path is None]:
            raise TentpoleError(
                f"labels of {len(lost)} frames are gone, the first that of {lost[0]}: delete {here.root}"
            )
        write_frames(here.train, [labelled_atoms(read_label(path)) for path in labels if path is not None])
        start = None if config.pretraining is None else self.paths.pretrained(self.draw)
        settings, energies, before = config.training, None, 0.0
        if start is not None:
            energies = refitted_energies(start, here.train)
            settings = first_settings(settings, start, len(labels))
            before = read_versioned(start / DONE, VERSION)["training_seconds"] if stage == 0 else 0.0
        jobs = [
            TrainingJob(
                member=k,
                seed=10_000 * self.draw + 100 * stage + k,
                train=here.train,
                valid=self.paths.valid,
                folder=here.root / "logs",
                out=here.models / f"member-{k}",
                warm_start=None if start is None else start / f"member-{k}",
            )
            for k in range(config.members)
        ]
        (here.root / "logs").mkdir(exist_ok=True)
        reports = train_committee(jobs, settings, self.workers, energies=energies, finishing=config.plateau)
        write_json(
            here.done,
            {
                "version": VERSION,
                "training_seconds": before + sum(report.seconds for report in reports),
                "updates": [report.updates for report in reports],
                "stopped": [report.stopped for report in reports],
                "md_seconds": self._md_seconds(here),
            },
        )

    def _md_seconds(self, here: SizePaths) -> float:
        """What the MD took that candidates of this size come from: where it is shared, all of it."""
        if self.study.driver is None:
            files = [here.trajectory(walker.id) for walker in self.study.walkers]
        else:
            files = [job.file for job in shared_trajectories(self.study, self.paths, self.policy, self.draw)]
        return md_seconds([file for file in files if file.is_file()])

    def _test(self, here: SizePaths) -> None:
        """Errors of the models on every test set, where they are not known."""
        missing = [name for name in self.study.config.tests if not here.errors(name).is_file()]
        if not missing:
            return
        from tentpole.training.network_voter import members_in

        committee = members_in(here.models, self.study.config.training.model.dtype, "own")
        for name in missing:
            known = labelled_set(self.study, self.paths, name)
            errors = set_errors(committee.evaluate(known.frames, stress=True), known)
            write_json(here.errors(name), {"version": VERSION, **errors.to_json()})
