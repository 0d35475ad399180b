"""Replay: while a model learns labels, a second head goes on learning what the model knew, so that its body keeps it.

mace's command has this as multi-head fine-tuning, which it leaves out without an error where it lacks something: what
it did is read from the model that it wrote and from its log. There is no weight of what is replayed: the command's
`--weight_pt_head` is read for data sets that it fetches itself, and the loss that it sets for this training leaves
weights of frames out; labels are repeated instead, until they are as many as the frames beside them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import write

from tentpole.committee.graph import collate, edges_within, graph_of
from tentpole.committee.mace_architecture import build_context
from tentpole.committee.mace_voter import MaceVoter
from tentpole.errors import InputError
from tentpole.storage.structures import labelled_frames, write_frames
from tentpole.training.frames import kept_energies, learned_frames
from tentpole.training.jobs import TrainingError, TrainingJob
from tentpole.training.settings import MACESettings

OWN, OTHER = "Default", "pt_head"  # mace's names of the heads of labels and of what is replayed
FEWEST = 10
_SIZE = re.compile(r"Head '(\w+)' training dataset size: (\d+)")


@dataclass(frozen=True)
class Replay:
    """What one member is trained on beside its labels, which are repeated `times` times."""

    train: list[Atoms]
    valid: list[Atoms]
    times: int

    def repeated(self, labels: Sequence[Atoms]) -> list[Atoms]:
        """The labels, as often as they are trained on in an epoch."""
        return list(labels) * self.times

    def in_epoch(self, labels: int) -> int:
        """Frames of an epoch with so many labels."""
        return labels * self.times + len(self.train)


def replay_of(job: TrainingJob, settings: MACESettings, labels: int) -> Replay | None:
    """The frames that a member replays, drawn by its seed, a tenth of them held out; None where nothing is replayed.

    Raises InputError where there are too few.
    """
    if settings.finetuning != "replay" or job.replay is None:
        return None
    frames = labelled_frames(job.replay)
    if len(frames) < FEWEST:
        raise InputError(f"{job.replay} holds {len(frames)} frames: {FEWEST} at least are replayed")
    drawn = np.random.default_rng([job.seed, len(frames)]).permutation(len(frames))[: settings.replay_frames]
    held = max(1, len(drawn) // 10)
    some = [frames[k] for k in drawn]
    return Replay(some[held:], some[:held], max(1, round((len(some) - held) / labels)))


def write_replay(replay: Replay, scratch: Path) -> None:
    """Write the files that `replay_arguments` names."""
    write(scratch / "replay.xyz", replay.train, format="extxyz")
    write(scratch / "replay-valid.xyz", replay.valid, format="extxyz")


def replay_arguments(scratch: Path) -> dict[str, Any]:
    """What mace's command is told, besides, for it to replay; it would repeat labels and choose its rate by itself."""
    return {
        "multiheads_finetuning": True,
        "pt_train_file": scratch / "replay.xyz",
        "pt_valid_file": scratch / "replay-valid.xyz",
        "force_mh_ft_lr": True,
        "real_pt_data_ratio_threshold": 0.0,
    }


def without_replay_head(model: Any, log: str, labels: int, replayed: int) -> Any:
    """The model with the head of the labels alone.

    Parameters
    ----------
    model : mace model
        As mace's command has written it.
    log : str
        What the command said.
    labels, replayed : int
        Frames that it was to train either head on.

    Returns
    -------
    mace model
        With one head, and the same predictions.

    Raises
    ------
    TrainingError
        Where it has not trained two heads on that many frames, or the head that is left predicts something else.
    """
    from mace.tools.scripts_utils import remove_pt_head

    heads, sizes = list(model.heads), {head: int(size) for head, size in _SIZE.findall(log)}
    if heads != [OTHER, OWN] or sizes != {OWN: labels, OTHER: replayed}:
        told = ", ".join(f"{head}: {size} frames" for head, size in sizes.items()) or "no head told of"
        raise TrainingError(
            f"mace's command has not replayed: the model that it wrote has the heads {', '.join(heads)}, and its log "
            f"tells of {told}; wanted are {OTHER} with {replayed} and {OWN} with {labels}. This mace-torch does it in "
            'another way than 0.3.16: set [training] finetuning = "naive"'
        )
    with build_context(str(next(model.parameters()).dtype).removeprefix("torch.")):
        single = remove_pt_head(model, OWN)
    single.atomic_energies_fn.atomic_energies = model.atomic_energies_fn.atomic_energies[1:]
    return single


def check_alike(model: Any, single: Any, frame: Atoms) -> None:
    """Raise TrainingError where `single` predicts other forces of a frame than the second head of `model`."""
    graph = collate([graph_of(frame, edges_within(frame, float(single.r_max)))])
    forces = [
        MaceVoter(one, [head], "cpu").evaluate(graph, [0], stress=False)[1] for one, head in ((model, 1), (single, 0))
    ]
    scale = max(1.0, float(np.abs(forces[0]).max()))
    if not np.abs(forces[0] - forces[1]).max() < 1e-3 * scale:
        raise TrainingError(
            "the head of the labels predicts other forces by itself than beside the one that was replayed: mace-torch "
            'takes it out in another way than 0.3.16. Set [training] finetuning = "naive"'
        )


def write_learned(stem: Path, train: Path, out: Path) -> None:
    """Write to `out`, for replay, what the member `stem` was trained on: `train`, less energies of isolated atoms."""
    energies = kept_energies(stem)
    frames = [atoms.copy() for atoms in learned_frames(train)]
    for atoms in frames:
        atoms.info["REF_energy"] = float(atoms.info["REF_energy"]) - sum(energies[int(z)] for z in atoms.numbers)
    write_frames(out, frames)


def write_pseudo_labels(stem: Path, frames: Sequence[Atoms], out: Path) -> None:
    """Write to `out`, for replay, what the member `stem` itself says of the frames."""
    from tentpole.committee import Committee

    energies = kept_energies(stem)
    found = Committee.load([stem], dtype="float64").evaluate(frames)
    labelled = []
    for k, atoms in enumerate(frames):
        copy = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc, info=dict(atoms.info))
        copy.info["REF_energy"] = float(found.energies[0, k]) - sum(energies[int(z)] for z in atoms.numbers)
        copy.arrays["REF_forces"] = found.forces[k][0]
        labelled.append(copy)
    write_frames(out, labelled)
