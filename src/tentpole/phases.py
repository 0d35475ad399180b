"""What the steps of a round do: the first structures, exploration, training."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from tentpole.batches import Request
from tentpole.config import FramesSection, RattleSection, ReferenceMDSection, read_structures
from tentpole.context import Context
from tentpole.dynamics import Exploration, ExploreSettings
from tentpole.evaluation import refitted_energies
from tentpole.exploration import ScoreJob, WalkerJob, run_walker, score_frames
from tentpole.initial import ReferenceMD, rattled, reference_md
from tentpole.meter import measured, metered
from tentpole.returns import SentBack
from tentpole.shards import read_exploration
from tentpole.state import Candidate, Condition, FloatArray, Label
from tentpole.store import write_frames

if TYPE_CHECKING:
    from tentpole.config import CampaignConfig
    from tentpole.entropy import GOM, Covariance

_INITIAL, _VALIDATION = 1, 2  # purposes of random numbers
HELD_BACK = 10
"""Every tenth label, in the order they joined, is never trained on: it stops the training in time."""


def initial_requests(work: Context) -> list[Request]:
    """The structures that are labelled before there is a committee."""
    config, section = work.config, work.config.initial
    if isinstance(section, RattleSection):
        rng = np.random.default_rng([config.seed, _INITIAL])
        frames = rattled(work.starts, section.count, section.stdev_A, rng)
        reason = "initial: a rattled starting structure"
    else:
        frames = _named(section, work)
        reason = "initial: a frame of the given file"
    return [_request(work, f"r000-{i:04d}", atoms, reason) for i, (_, atoms) in enumerate(frames)]


def validation_requests(work: Context) -> list[Request]:
    """The structures of the fixed validation set. They never enter the pool."""
    config, section = work.config, work.config.validation
    if isinstance(section, FramesSection):
        found = [atoms for _, atoms in _named(section, work)]
    else:
        assert isinstance(section, ReferenceMDSection)
        found = []
        conditions = [(name, t) for name in work.starts for t in section.temperatures_K]
        jobs = []
        for i, (name, temperature) in enumerate(conditions):
            share = section.frames // len(conditions) + (i < section.frames % len(conditions))
            jobs.append(
                ReferenceMD(
                    config.reference,
                    config.charge,
                    config.multiplicity,
                    name,
                    work.starts[name],
                    temperature,
                    share,
                    section.every,
                    section.timestep_fs,
                    (config.seed, _VALIDATION, i),
                    work.root / "work" / f"validation-{i}",
                )
            )
        began = time.monotonic()
        counted = partial(measured, work.root, "labelling", reference_md)
        for future in work.workers.submit(counted, jobs, work.root):
            found += future.result()
        work.note_phase("labelling", time.monotonic() - began)
    reason = "validation: judges every committee, trains none"
    return [_request(work, f"validation-{i:04d}", atoms, reason) for i, atoms in enumerate(found)]


def _named(section: FramesSection, work: Context) -> list[tuple[str, Atoms]]:
    file = Path(section.file)
    return [(file.stem, atoms) for atoms in read_structures(file, section.index, str(file))]


def _request(work: Context, id: str, atoms: Atoms, reason: str) -> Request:
    config = work.config
    return Request(id, atoms, work.reference.hash, config.charge, config.multiplicity, reason=reason)


def fingerprint_rows(config: CampaignConfig, labels: Sequence[Label]) -> tuple[GOM, list[FloatArray]]:
    """The fingerprint of the campaign, and its rows of each label."""
    from tentpole.entropy import GOM

    fingerprint = GOM(config.fingerprint.cutoff, n_max=config.fingerprint.n_max)
    return fingerprint, [fingerprint.fingerprints(label.atoms) for label in labels]


def covariance_of(config: CampaignConfig, rows: Sequence[FloatArray]) -> Covariance:
    """The fingerprint covariance of a dataset, from the rows of its labels."""
    from tentpole.entropy import Covariance

    covariance = Covariance(config.fingerprint.mode, config.fingerprint.eps)
    for block in rows:
        covariance.add(block)
    return covariance


def dataset_covariance(config: CampaignConfig, labels: Sequence[Label]) -> tuple[GOM, Covariance]:
    """The fingerprint of the campaign, and the covariance of its dataset."""
    fingerprint, rows = fingerprint_rows(config, labels)
    return fingerprint, covariance_of(config, rows)


def walker_conditions(work: Context) -> list[tuple[str, Condition, float]]:
    """Id, condition and bias ratio of every walker: one per structure, temperature and ratio."""
    explore = work.config.explore
    found = [
        (Condition(name, temperature), ratio)
        for name in work.starts
        for temperature in explore.temperatures_K
        for ratio in explore.bias.ratios
    ]
    return [(f"w{i:02d}", condition, ratio) for i, (condition, ratio) in enumerate(found)]


def walker_jobs(
    work: Context, round: int, models: Path, covariance: Covariance, sent_back: Sequence[SentBack] = ()
) -> list[WalkerJob]:
    """One job per walker: this round with that committee and dataset, from where the walker is or was sent back to."""
    config, section = work.config, work.config.explore
    settings = ExploreSettings(
        section.steps,
        section.snapshot_every,
        section.max_force_std_eV_per_A,
        section.ensemble.build(),
        section.health.build(),
    )
    back = {sent.walker: sent for sent in sent_back if sent.round == round}
    return [
        WalkerJob(
            root=work.root,
            round=round,
            id=id,
            index=i,
            seed=config.seed,
            condition=condition,
            start=work.starts[condition.structure],
            models=models,
            driver=config.committee.driver,
            voters=config.committee.voters,
            dtype=config.committee.dtype,
            ratio=ratio,
            entropy=section.bias.entropy,
            cutoff=config.fingerprint.cutoff,
            n_max=config.fingerprint.n_max,
            covariance=covariance,
            settings=settings,
            checkpoint_seconds=section.checkpoint_seconds,
            sent_back=back.get(id),
        )
        for i, (id, condition, ratio) in enumerate(walker_conditions(work))
    ]


def set_going(work: Context, jobs: Sequence[WalkerJob]) -> list[Future[Path]]:
    """Run walkers to the end of their round, several at a time, in the background."""
    return work.workers.submit(run_walker, jobs, work.root)


def await_walkers(work: Context, jobs: Sequence[WalkerJob], pending: Sequence[Future[Path]]) -> None:
    """Wait for walkers that were set going. The time of the wait is what is noted: they may have run before."""
    round, began = jobs[0].round, time.monotonic()
    total = float(jobs[0].settings.steps * len(jobs))
    while not work.workers.wait(pending, 0.5):
        work.watch.progress(f"round {round}: MD", sum(job.steps_done() for job in jobs), total)
    results = [read_exploration(future.result()) for future in pending]
    work.watch.progress(f"round {round}: MD", total, total)
    wall = time.monotonic() - began
    # workers do both in turn: their own clocks say how the wall time divides
    md, scoring = sum(r.md_seconds for r in results), sum(r.scoring_seconds for r in results)
    share = md / (md + scoring) if md + scoring else 1.0
    work.note_phase("md", wall * share, round)
    work.note_phase("scoring", wall * (1 - share), round)


def rescored(work: Context, models: Path, covariance: Covariance, candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates with the scores that another committee and dataset give them."""
    config, shares = work.config, work.workers.processes
    began = time.monotonic()
    jobs = [
        ScoreJob(
            models=models,
            voters=config.committee.voters,
            dtype=config.committee.dtype,
            cutoff=config.fingerprint.cutoff,
            n_max=config.fingerprint.n_max,
            covariance=covariance,
            frames=tuple(c.snapshot.atoms for c in candidates[share::shares]),
        )
        for share in range(shares)
    ]
    counted = partial(measured, work.root, "scoring", score_frames)
    parts = [future.result() for future in work.workers.submit(counted, jobs, work.root)]
    work.note_phase("scoring", time.monotonic() - began)
    return [replace(c, scores=parts[i % shares][i // shares]) for i, c in enumerate(candidates)]


def exploration_facts(shards: Sequence[Exploration], ratios: dict[str, float]) -> dict[str, Any]:
    """What the round's report needs of the walkers: mishaps by reason, bias strengths."""
    mishaps: dict[str, int] = {}
    for shard in shards:
        for mishap in shard.mishaps:
            mishaps[mishap.reason] = mishaps.get(mishap.reason, 0) + 1
    return {
        "mishaps": mishaps,
        "unhealthy": sum(mishaps.values()),
        "plain_unhealthy": sum(len(s.mishaps) for s in shards if ratios[s.walker.id] == 0),
        "intervals": sum(len(s.mishaps) + len(s.snapshots) for s in shards),
        "bias_strength_eV": {s.walker.id: s.walker.bias_strength for s in shards},
    }


def group_errors(requests: dict[str, Request], facts: dict[str, Any]) -> dict[str, float]:
    """Force RMSE in eV/Å per element and per condition, from a closed round's facts."""
    squares: dict[str, list[float]] = {}
    for name, error in facts.get("frames", {}).items():
        squares.setdefault(str(requests[name].condition), []).append(error["force_mse"])
    conditions = {name: math.sqrt(sum(values) / len(values)) for name, values in squares.items()}
    return {**facts.get("elements", {}), **conditions}


def models_folder(root: Path, round: int) -> Path:
    return root / "models" / f"r{round:03d}"


def is_trained(root: Path, round: int) -> bool:
    """Whether this round has no need of training: its committee is whole, or it brought no labels."""
    from tentpole.batches import read_closed
    from tentpole.committee.committee import is_whole

    return is_whole(models_folder(root, round)) or not read_closed(root, round)["accepted"]


def newest_models(root: Path, round: int) -> Path:
    """The committee's folder that is in force after `round`: rounds without labels train none."""
    from tentpole.committee.committee import COMMITTEE_FILE

    while not (models_folder(root, round) / COMMITTEE_FILE).exists():
        round -= 1
    return models_folder(root, round)


def train(work: Context, round: int, labels: Sequence[Label]) -> None:
    """Train the committee of this round on all labels but those held back."""
    from tentpole.training import TrainingJob, train_committee

    config, folder = work.config, models_folder(work.root, round)
    held = [i for i in range(len(labels)) if i % HELD_BACK == HELD_BACK - 1] or [len(labels) - 1]
    parts = {"train": [i for i in range(len(labels)) if i not in set(held)], "valid": held}
    for part, indices in parts.items():
        write_frames(folder / f"{part}.extxyz", [labelled_atoms(labels[i]) for i in indices])
    shallow = config.committee.kind == "shallow"
    warm = newest_models(work.root, round - 1) if round and config.training.warm_start and not shallow else None
    energies = None
    train_file = folder / "train.extxyz"
    if warm is not None and config.training.E0s == "average" and _widened(warm / "train.extxyz", train_file):
        work.watch.note(f"round {round}: new compositions, to which the energies of isolated atoms are fitted again")
        energies = work.workers.run(refitted_energies, warm, train_file, root=work.root)
    names = [f"member-{m}" for m in range(1 if shallow else config.committee.members)]
    jobs = [
        TrainingJob(
            member=m,
            seed=config.seed * 1000 + m,
            train=train_file,
            valid=folder / "valid.extxyz",
            folder=folder,
            out=folder / name,
            warm_start=None if warm is None else warm / name,
            heads=config.committee.members if shallow else 1,
        )
        for m, name in enumerate(names)
    ]
    epochs: dict[int, float] = {}

    def on_progress(member: int, epoch: int, of: int) -> None:
        epochs[member] = min(1.0, epoch / max(of, 1))
        work.watch.progress(f"round {round}: training", sum(epochs.values()), len(jobs))

    workers = work.workers
    side_by_side = len(jobs) if workers.training else min(len(jobs), workers.processes)
    with metered(work.root, "training", side_by_side) as meter:
        reports = train_committee(
            jobs, config.training.build(), workers.processes, on_progress, workers.training, energies
        )
        meter.exactly = sum(report.seconds for report in reports if not report.skipped)


def _widened(before: Path, now: Path) -> bool:
    """Whether the compositions in `now` span more than those in `before`: energies of isolated atoms that were fitted
    to those say nothing of others, and would be wrong by electronvolts, in all members alike."""
    from tentpole.training.mace import labelled_frames

    counts = ([np.bincount(atoms.numbers, minlength=119) for atoms in labelled_frames(part)] for part in (before, now))
    old, new = (np.linalg.matrix_rank(np.array(part)) for part in counts)
    return bool(new > old)


def labelled_atoms(label: Label) -> Atoms:
    """The label's structure with REF_energy, REF_forces and, where known, REF_stress, as MACE reads them."""
    atoms = label.atoms.copy()
    atoms.info["REF_energy"] = label.energy
    atoms.arrays["REF_forces"] = np.asarray(label.forces)
    if label.stress is not None:
        atoms.info["REF_stress"] = np.asarray(label.stress)
    if label.charge is not None:
        atoms.info["charge"] = label.charge
    return atoms
