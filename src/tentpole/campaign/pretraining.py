"""What members learn before the first label: a cheap reference, labels of another method, or an earlier campaign.

The cheap reference's labels lie in the campaign's store of labels under its own hash, and are never mixed with the
campaign's. Each member is trained on them with a seed of its own and another tenth held out: members differ from the
first round on. What their spread is worth is known only once they have met the campaign's own reference: the first
labels are asked for without it, and it is calibrated on audit frames alone.

Where the same cheap reference is the campaign's [baseline], it is learned whole at first: what members know of it stays
in their bodies, and readouts of their own learn the difference from the first label on.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.io import read

from tentpole.campaign.answers import count_outcome, label_tasks
from tentpole.campaign.baseline import note_baseline, with_baseline
from tentpole.campaign.batches import Method, Request, labels_of, outcome_names, pending, read_batch, write_batch
from tentpole.campaign.context import Context
from tentpole.campaign.evaluation import energy_error, force_spread
from tentpole.campaign.facts import VERSION, BatchFacts, PretrainingFacts, RoundOutcome
from tentpole.campaign.paths import PRETRAINING, CampaignPaths
from tentpole.campaign.reference_dynamics import trajectories
from tentpole.committee.baseline import Baseline
from tentpole.committee.committee_files import is_whole
from tentpole.committee.isolated_energies import refitted_energies
from tentpole.config.baseline import whole_first
from tentpole.config.loading import given_frames
from tentpole.config.schema import (
    CampaignConfig,
    CheapLabelsSection,
    CheapReferenceSection,
    EarlierCommitteeSection,
    FoundationSection,
)
from tentpole.config.walkers import temperatures_K
from tentpole.errors import StateError
from tentpole.execution.metering import measured, metered
from tentpole.exploration.initial import rattled, reference_md
from tentpole.labeling import references
from tentpole.labeling.references import Reference
from tentpole.records import Condition, bare
from tentpole.storage.structures import labelled_atoms, write_frames
from tentpole.training.frames import difference_energies
from tentpole.training.readouts import first_settings, write_fresh_members
from tentpole.training.replay import write_learned, write_pseudo_labels

if TYPE_CHECKING:
    from tentpole.training import MACESettings, TrainingReport

FEWEST = 10
"""Labels of the cheap reference to pretrain on."""

NOISE_eV_PER_A = 1e-4
"""Disagreement on rattled structures below which members are copies, to the digits of float32."""

WRONG_ENERGIES_eV = 0.4
"""Error of energies per atom, before the first training, beyond which those of isolated atoms are wrong."""


def is_pretrained(context: Context) -> bool:
    """Whether the committee that the first training starts from is there, or none is wanted."""
    section = context.config.pretraining
    if section is None:
        return True
    if isinstance(section, EarlierCommitteeSection):
        return context.paths.pretraining_facts.exists()
    return is_whole(context.paths.pretrained) and context.paths.pretraining_facts.exists()


def start_committee(context: Context) -> Path | None:
    """The folder of the members that the first training goes on from, made if need be; None: random weights."""
    earlier = isinstance(context.config.pretraining, EarlierCommitteeSection)
    if not earlier and not is_pretrained(context):
        pretrain(context)
    return start_folder(context.config, context.paths)


def start_folder(config: CampaignConfig, paths: CampaignPaths) -> Path | None:
    """Where the members are that the first training goes on from; None: random weights.

    What is linear in the weights needs no fresh readouts to learn a difference.
    """
    if config.pretraining is None:
        return None
    if isinstance(config.pretraining, EarlierCommitteeSection):
        return paths.root / config.pretraining.folder
    return paths.pretrained_whole if _difference_alone(config) else paths.pretrained


def start_energies(config: CampaignConfig, settings: MACESettings, start: Path, train: Path) -> dict[int, float]:
    """Energies of isolated atoms in eV for a training on the file `train` that goes on from the members in `start`.

    They are estimated anew, around what the members predict for the labels; of a difference that members know nothing
    of, from that alone.
    """
    if _difference_alone(config):
        return difference_energies(settings, train)
    return refitted_energies(_judged(config, start), train)


def _difference_alone(config: CampaignConfig) -> bool:
    """Whether members know whole energies and solve for a difference."""
    return config.training.solve == "instead" and whole_first(config)


def _judged(config: CampaignConfig, start: Path) -> Path:
    """The members whose predictions count: fresh readouts predict nothing yet, the model that they were put on does."""
    if isinstance(config.pretraining, FoundationSection) and not whole_first(config):
        return Path(config.pretraining.model).parent
    return start


def first_training(
    context: Context, number: int, start: Path, train: Path, labels: int
) -> tuple[dict[int, float], MACESettings]:
    """Energies of isolated atoms and settings for a training that goes on from the pretrained members."""
    config, settings = context.config, context.config.training.build()
    energies = context.workers.run(start_energies, config, settings, start, train, root=context.root)
    if _difference_alone(config):
        return energies, settings
    error = context.workers.run(energy_error, _judged(config, start), train, energies, root=context.root)
    if not error < WRONG_ENERGIES_eV and not whole_first(config):
        context.progress.note(
            f"round {number}: what members start from errs by {error:.2f} eV/atom on the first labels, with the "
            "energies of isolated atoms that fit best: these are wrong, or the labels are of something else"
        )
    context.journal.append("started from pretrained members", round=number, energy_error_eV_per_atom=error)
    return energies, first_settings(settings, start, labels)


def pretraining_frames(context: Context) -> list[tuple[str, Atoms]]:
    """The frames that members were pretrained on, each with its condition."""
    section = context.config.pretraining
    if isinstance(section, CheapReferenceSection):
        batch = read_batch(context.paths, PRETRAINING, _method(context, _cheap(context, section)))
        return [(str(request.condition or ""), request.atoms) for request in batch.requests]
    frames = given_frames(context.config, context.paths.campaign_file)["pretraining"]
    return [("", bare(atoms)) for atoms in frames]


def pretrain(context: Context, enough: Callable[[], bool] = lambda: False) -> None:
    """Have the cheap reference label its frames, and train the members on them. What is done already is kept.

    enough : asked after each label; once it is true, no further one is begun, and nothing is trained.
    """
    section, failed, core_s = context.config.pretraining, 0, 0.0
    if isinstance(section, EarlierCommitteeSection | FoundationSection):
        _take_over(context, section)
        return
    if isinstance(section, CheapReferenceSection):
        outcome = _outcome(context, section, enough)
        if outcome is None:
            return
        labels = labels_of(context.paths, outcome)
        frames, name = [labelled_atoms(label) for label in labels], section.reference
        failed, core_s = len(outcome.failed), sum(float(label.details.get("core_s", 0.0)) for label in labels)
    else:
        assert isinstance(section, CheapLabelsSection)
        frames = given_frames(context.config, context.paths.campaign_file)["pretraining"]
        name = section.file
    reports = _train(context, frames, section.updates)
    if context.config.training.finetuning == "replay":
        folder = context.paths.pretrained
        write_learned(folder / "member-0", folder / "train.extxyz", context.paths.replay)
    facts = PretrainingFacts(
        reference=Path(name).stem,
        labels=len(frames),
        failed=failed,
        updates=section.updates,
        core_seconds=round(core_s + sum(report.seconds for report in reports), 3),
        force_rmse=tuple(report.force_rmse for report in reports),
        force_std=_spread_of(context, context.paths.pretrained),
    )
    _note(context, facts)


def _take_over(context: Context, section: EarlierCommitteeSection | FoundationSection) -> None:
    """Members of an earlier campaign as they are, or fresh readouts on the body of one model."""
    if isinstance(section, EarlierCommitteeSection):
        folder = Path(section.folder)
        note_baseline(context.config, folder)
    else:
        folder = context.paths.pretrained
        _with_fresh_readouts(context, [Path(section.model)])
        if context.config.training.finetuning == "replay":
            frames = given_frames(context.config, context.paths.campaign_file)["pretraining"]
            out = context.paths.replay
            context.workers.run(write_pseudo_labels, Path(section.model), frames, out, root=context.root)
    name = "an earlier campaign" if isinstance(section, EarlierCommitteeSection) else "a foundation model"
    _note(context, PretrainingFacts(name, 0, 0, 0, 0.0, (), _spread_of(context, folder)))


def _with_fresh_readouts(context: Context, starts: Sequence[Path]) -> None:
    """The committee that the first training goes on from, with these models' bodies."""
    config, folder = context.config, context.paths.pretrained
    seeds, facts = [_seed(config.seed, m) for m in _members(context)], None
    if config.baseline is not None:
        facts = asdict(Baseline(config.baseline.reference, config.charge, config.multiplicity).facts())
        note_baseline(config, folder)
    context.workers.run(write_fresh_members, starts, folder, seeds, facts, root=context.root)


def _note(context: Context, facts: PretrainingFacts) -> None:
    context.write(context.paths.pretraining_facts, {"version": VERSION, **asdict(facts)})
    context.journal.append("pretrained", labels=facts.labels, failed=facts.failed, reference=facts.reference)
    context.progress.note(f"members {facts.words}")


def _members(context: Context) -> range:
    return range(context.config.committee.members)


def _spread_of(context: Context, folder: Path) -> float:
    """Mean disagreement of the members on rattled starting structures, eV/Å.

    Raises StateError where they agree to numerical noise: nothing could be chosen by that, nor calibrated.
    """
    frames = [atoms for _, atoms in rattled(context.starts, 3 * len(context.starts), [0.05], np.random.default_rng(0))]
    stds = context.workers.run(force_spread, folder, context.config.committee.members, frames, root=context.root)
    if not max(stds) > NOISE_eV_PER_A:
        raise StateError(
            f"{folder}: members agree to {max(stds):.1g} eV/Å on rattled structures, which is numerical noise: their "
            "disagreement says nothing. Start from members that were trained with different seeds."
        )
    return float(np.mean(stds))


def _outcome(context: Context, section: CheapReferenceSection, enough: Callable[[], bool]) -> RoundOutcome | None:
    """Which of the cheap reference's labels there are; None where time was up before the last of them.

    Raises StateError where too few were accepted.
    """
    paths, reference = context.paths, _cheap(context, section)
    method, began = _method(context, reference), time.monotonic()
    if not paths.batch(PRETRAINING).exists():
        requests = _requests(context, section, method)
        context.folder.check()
        write_batch(paths, PRETRAINING, requests, BatchFacts())
        context.journal.append("batch", round=PRETRAINING, asked=len(requests))
    batch = read_batch(paths, PRETRAINING, method)
    _label(context, reference, pending(paths, batch), batch.asked, enough)
    context.note_phase("labelling", time.monotonic() - began, 0)
    if pending(paths, batch):
        return None
    outcome = RoundOutcome(*outcome_names(paths, batch))
    if len(outcome.accepted) < FEWEST:
        raise StateError(
            f"{paths.root}: {len(outcome.accepted)} of {batch.asked} labels of [pretraining] were accepted, and "
            f"{FEWEST} at least are pretrained on. Why they failed: {paths.quarantine}. Start again in another folder "
            "with another cheap reference, or without [pretraining]."
        )
    context.write(paths.outcome(PRETRAINING), outcome.to_json())
    return outcome


def _requests(context: Context, section: CheapReferenceSection, method: Method) -> list[Request]:
    """The frames that the cheap reference labels: given ones, or those of its own MD, one trajectory after another."""
    reason = "pretraining: members learn the cheap reference before the first label"

    def request(number: int, atoms: Atoms, condition: Condition | None = None) -> Request:
        return method.request(f"pretraining-{number:05d}", atoms, condition, reason=reason)

    if section.file is not None:
        frames = given_frames(context.config, context.paths.campaign_file)["pretraining"]
        return [request(number, bare(atoms)) for number, atoms in enumerate(frames)]
    temperatures = section.temperatures_K or temperatures_K(context.config)
    jobs = trajectories(context, section.reference, section, temperatures, "pretraining")
    missing = [job for job in jobs if not context.paths.pretraining_md(job.index).exists()]
    counted = partial(measured, context.root, "labelling", reference_md)
    futures = context.workers.submit(counted, missing, context.root)
    for done, (job, future) in enumerate(zip(missing, futures, strict=True), start=1 + len(jobs) - len(missing)):
        write_frames(context.paths.pretraining_md(job.index), future.result())
        context.progress.progress("pretraining: MD by the cheap reference", done, len(jobs))
    frames_of_md = [
        (bare(atoms), Condition(job.structure, job.temperature_K))
        for job in jobs
        for atoms in read(context.paths.pretraining_md(job.index), ":")
    ]
    return [request(number, atoms, condition) for number, (atoms, condition) in enumerate(frames_of_md)]


def _label(
    context: Context, reference: Reference, requests: Sequence[Request], of: int, enough: Callable[[], bool]
) -> None:
    """Have the cheap reference label these, and count what that costs."""
    from tentpole.labeling import label_all

    limits, by_name = context.config.executor, {request.name: request for request in requests}
    tasks = label_tasks(context, reference, requests)
    outcomes = label_all(
        tasks, context.workers.labels, attempts=limits.attempts, in_a_row=limits.crashes_in_a_row, enough=enough
    )
    for done, outcome in enumerate(outcomes, start=1 + of - len(requests)):
        context.folder.check()
        count_outcome(context, outcome, by_name)
        context.progress.progress("pretraining: labels of the cheap reference", done, of)


def _train(context: Context, frames: Sequence[Atoms], updates: int) -> list[TrainingReport]:
    """Train the members, each with its own seed and its own tenth held out."""
    from tentpole.training import TrainingJob, train_committee

    config, folder, baseline = context.config, context.paths.pretrained, None
    if whole := whole_first(config):
        folder = context.paths.pretrained_whole
    else:
        frames, baseline = with_baseline(config, frames, folder, partial(context.workers.run, root=context.root))
    train = folder / "train.extxyz"
    write_frames(train, frames)
    jobs = [
        TrainingJob(m, _seed(config.seed, m), train, None, folder, folder / f"member-{m}", baseline=baseline)
        for m in _members(context)
    ]
    shares: dict[int, float] = {}

    def on_progress(member: int, update: int, of: int) -> None:
        shares[member] = min(1.0, update / max(of, 1))
        context.progress.progress("pretraining: training", sum(shares.values()), len(jobs))

    workers, began = context.workers, time.monotonic()
    settings = replace(
        config.training.build(), updates=updates, epochs=None, frozen=False, finetuning="naive", solve="no"
    )
    with metered(context.root, "training", min(len(jobs), workers.processes)) as meter:
        reports = train_committee(jobs, settings, workers.processes, on_progress, workers.training)
        meter.exactly = sum(report.seconds for report in reports if not report.skipped)
    context.note_phase("training", time.monotonic() - began, 0)
    if whole:
        _with_fresh_readouts(context, [job.out for job in jobs])
    return reports


def _seed(seed: int, member: int) -> int:
    """Other ones than those of the campaign's own trainings."""
    return int.from_bytes(hashlib.sha256(f"{seed}/pretraining/{member}".encode()).digest()[:4])


def _cheap(context: Context, section: CheapReferenceSection) -> Reference:
    symbols = {symbol for atoms in context.starts.values() for symbol in atoms.get_chemical_symbols()}
    return references.load(section.reference, sorted(symbols))


def _method(context: Context, reference: Reference) -> Method:
    return Method(reference.hash, context.config.charge, context.config.multiplicity)
