"""Training the committee of a round on the labels so far, and which committee is in force."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from tentpole.campaign.baseline import with_baseline
from tentpole.campaign.context import Context
from tentpole.campaign.pretraining import first_training, start_committee
from tentpole.committee.isolated_energies import refitted_energies
from tentpole.config.baseline import whole_first
from tentpole.execution.metering import metered
from tentpole.records import Label
from tentpole.storage.structures import labelled_atoms, write_frames

HELD_BACK = 10
"""Campaigns of earlier versions train no member on every tenth label, in the order they joined."""

LEGACY_SEEDS = 2**32
"""Seeds of members stay below: NumPy's legacy generators, which MACE's training uses, take no more."""


def member_seed(seed: int, member: int) -> int:
    """The seed of one member: seed·1000 + member, or where that is too large 32 bits of a hash of both.

    >>> member_seed(5, 1)
    5001
    >>> member_seed(20261121, 0) < 2**32
    True
    """
    plain = seed * 1000 + member
    if plain < LEGACY_SEEDS:
        return plain
    return int.from_bytes(hashlib.sha256(f"{seed}/training/{member}".encode()).digest()[:4])


def under_trained(models: Path) -> int:
    """How many members of this committee err nearly as much on frames that they were trained on as on others."""
    from tentpole.committee.committee_files import member_stems
    from tentpole.committee.member_files import read_description

    return sum(bool(read_description(stem).get("training", {}).get("under_trained")) for stem in member_stems(models))


def train(context: Context, number: int, labels: Sequence[Label], *, finishing: bool = False) -> None:
    """Train the committee of this round: each member on all labels but a tenth, another one for each.

    finishing : go on with it until its errors no longer fall, in a folder of its own.
    """
    what = f"round {number}: {'finishing training' if finishing else 'training'}"
    context.progress.progress(what, 0, 0)
    from tentpole.training import TrainingJob, train_committee

    config, paths = context.config, context.paths
    folder = paths.finished(number) if finishing else paths.models(number)
    parts = {"train": list(range(len(labels)))}
    if config.training.loop == "mace-total":
        held = [i for i in range(len(labels)) if i % HELD_BACK == HELD_BACK - 1] or [len(labels) - 1]
        parts = {"train": [i for i in range(len(labels)) if i not in set(held)], "valid": held}
    run = partial(context.workers.run, root=context.root)
    frames, baseline = with_baseline(config, [labelled_atoms(label) for label in labels], folder, run)
    for part, indices in parts.items():
        write_frames(folder / f"{part}.extxyz", [frames[i] for i in indices])
    shallow = config.committee.kind == "shallow"
    start = start_committee(context)
    linear = config.training.solve == "instead"  # every time from the start: what was solved for knows no more
    before = context.state.newest_models(number) if finishing else context.state.training_start(number)
    warm = (before if config.training.warm_start and not shallow and not linear else None) or start
    energies, settings = None, config.training.build()
    train_file = folder / "train.extxyz"
    if warm is not None and warm == start:
        energies, settings = first_training(context, number, start, train_file, len(labels))
    elif warm is not None and isinstance(config.training.E0s, str) and _widened(warm / "train.extxyz", train_file):
        context.progress.note(
            f"round {number}: new compositions, to which the energies of isolated atoms are fitted again"
        )
        energies = context.workers.run(refitted_energies, warm, train_file, root=context.root)
    names = [f"member-{m}" for m in range(1 if shallow else config.committee.members)]
    jobs = [
        TrainingJob(
            member=m,
            seed=member_seed(config.seed, m),
            train=train_file,
            valid=folder / "valid.extxyz" if "valid" in parts else None,
            folder=folder,
            out=folder / name,
            warm_start=None if warm is None else warm / name,
            heads=config.committee.members if shallow else 1,
            baseline=baseline,
            replay=paths.replay if settings.finetuning == "replay" else None,
            whole=not whole_first(config),
        )
        for m, name in enumerate(names)
    ]
    epochs: dict[int, float] = {}

    def on_progress(member: int, epoch: int, of: int) -> None:
        epochs[member] = min(1.0, epoch / max(of, 1))
        context.progress.progress(what, sum(epochs.values()), len(jobs))

    workers = context.workers
    side_by_side = len(jobs) if workers.training else min(len(jobs), workers.processes)
    with metered(context.root, "training", side_by_side) as meter:
        reports = train_committee(
            jobs,
            settings,
            workers.processes,
            on_progress,
            workers.training,
            energies,
            finishing=finishing,
        )
        meter.exactly = sum(report.seconds for report in reports if not report.skipped)
    force, energy = (1000 * float(np.mean([getattr(r, f"{w}_rmse") for r in reports])) for w in ("force", "energy"))
    context.progress.note(
        f"{what} done, {len(labels)} labels; each member on the labels it held back, in the mean: force RMSE "
        f"{force:.1f} meV/Å, energy {energy:.3g} meV/atom"
    )
    if any(report.under_trained for report in reports):
        context.progress.note(
            f"round {number}: members err nearly as much on frames they were trained on as on others: more updates "
            "would help more than more labels ([training] updates)"
        )


def _widened(before: Path, now: Path) -> bool:
    """Whether the compositions in `now` span more than those in `before`.

    Energies of isolated atoms that were fitted to those say nothing of others, and would be wrong by electronvolts, in
    all members alike.
    """
    from tentpole.storage.structures import labelled_frames

    counts = ([np.bincount(atoms.numbers, minlength=119) for atoms in labelled_frames(part)] for part in (before, now))
    old, new = (np.linalg.matrix_rank(np.array(part)) for part in counts)
    return bool(new > old)
