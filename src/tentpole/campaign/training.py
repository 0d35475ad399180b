"""Training the committee of a round on the labels so far, and which committee is in force."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tentpole.campaign.context import Context
from tentpole.campaign.evaluation import refitted_energies
from tentpole.execution.metering import metered
from tentpole.records import Label
from tentpole.storage.structures import labelled_atoms, write_frames

HELD_BACK = 10
"""Every tenth label, in the order they joined, is never trained on: it stops the training in time."""


def models_folder(root: Path, round: int) -> Path:
    return root / "models" / f"r{round:03d}"


def is_trained(root: Path, round: int) -> bool:
    """Whether this round has no need of training: its committee is whole, or it brought no labels."""
    from tentpole.campaign.batches import read_closed
    from tentpole.committee.committee_files import is_whole

    return is_whole(models_folder(root, round)) or not read_closed(root, round)["accepted"]


def newest_models(root: Path, round: int) -> Path:
    """The committee's folder that is in force after `round`: rounds without labels train none."""
    from tentpole.committee.committee_files import COMMITTEE_FILE

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
    from tentpole.storage.structures import labelled_frames

    counts = ([np.bincount(atoms.numbers, minlength=119) for atoms in labelled_frames(part)] for part in (before, now))
    old, new = (np.linalg.matrix_rank(np.array(part)) for part in counts)
    return bool(new > old)
