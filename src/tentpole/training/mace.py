"""MACE's own training command for one member: its settings, its arguments, its log, its result."""

from __future__ import annotations

import math
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols
from ase.io import write

from tentpole.committee.committee import choose_device
from tentpole.committee.member_files import read_description, read_member, write_member
from tentpole.errors import InputError, unknown
from tentpole.execution.provenance import provenance
from tentpole.storage.structures import labelled_frames
from tentpole.training.jobs import TrainingJob, TrainingReport

EVALUATIONS = 16  # of the validation set per training: enough for a curve, too few to cost anything

_EPOCH = re.compile(
    r"Epoch (\d+): .*loss=\s*([-\w.+]+), RMSE_E_per_atom=\s*([-\w.+]+) meV, RMSE_F=\s*([-\w.+]+) meV / A"
)


@dataclass(frozen=True, slots=True)
class MACESettings:
    """How members are built and trained.

    channels, max_L, max_ell, correlation, interactions, radial_basis, cutoff_basis, r_max (Å) : the model.
    updates : gradient steps; the epochs follow from the size of the training set. epochs : instead of updates.
    batch_size : configurations per step. lr, lr_warm : learning rate at the start from random weights and from the
    last round's, which the higher one would undo. lr_end : the rate it falls to, exponentially, at
    the end. ema_decay : of the running mean of the weights that is kept.
    energy_weight, forces_weight, stress_weight : of MACE's loss; stress counts where REF_stress is given.
    patience : evaluations without a better one (of about 16 in all) before a training stops early.
    E0s : energies of the isolated atoms in eV by symbol or number, or "average" for the least-squares fit to the
    training set: with fewer compositions than species it is no more than a guess for other compositions. All members
    share them, so that they never pass for uncertainty; a warm start keeps those of the first round.
    dtype : "float32" or "float64". device : "auto", "cpu", "cuda". threads : per member.
    """

    channels: int = 16
    max_L: int = 1
    max_ell: int = 2
    correlation: int = 2
    interactions: int = 2
    radial_basis: int = 5
    cutoff_basis: int = 3
    r_max: float = 5.0
    updates: int = 600
    epochs: int | None = None
    batch_size: int = 5
    lr: float = 0.04
    lr_warm: float = 0.01
    lr_end: float = 0.001
    ema_decay: float = 0.99
    energy_weight: float = 10.0
    forces_weight: float = 100.0
    stress_weight: float = 10.0
    patience: int = 16
    E0s: Mapping[str, float] | str = "average"
    dtype: str = "float32"
    device: str = "auto"
    threads: int = 1

    def __post_init__(self) -> None:
        if self.dtype not in ("float32", "float64"):
            raise unknown("dtype", self.dtype, ("float32", "float64"))
        if isinstance(self.E0s, str) and self.E0s != "average":
            raise unknown("E0s", self.E0s, ("average", "a table of energies by element"))
        for name in ("channels", "interactions", "updates", "batch_size", "threads", "correlation"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} = {getattr(self, name)} must be at least 1")
        for name in ("r_max", "lr", "lr_warm", "lr_end"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} = {getattr(self, name)} must be positive")


def isolated_energies(settings: MACESettings, frames: Sequence[Atoms]) -> dict[int, float]:
    """Energy of every species' isolated atom in eV, from the settings or fitted to `frames`.

    The fit is the least-squares solution of smallest norm of Σ_Z n_Z E0_Z = E over the frames. Raises
    InputError for a species without an energy.
    """
    species = sorted({int(z) for atoms in frames for z in atoms.numbers})
    if isinstance(settings.E0s, str):
        counts = np.array([[np.count_nonzero(atoms.numbers == z) for z in species] for atoms in frames])
        energies = np.array([atoms.info["REF_energy"] for atoms in frames], dtype=float)
        fitted, *_ = np.linalg.lstsq(counts.astype(float), energies, rcond=None)
        return {z: float(e) for z, e in zip(species, fitted, strict=True)}
    given: dict[int, float] = {}
    for key, energy in settings.E0s.items():
        if not str(key).isdigit() and key not in atomic_numbers:
            raise unknown("element", str(key), atomic_numbers, where="E0s")
        given[int(key) if str(key).isdigit() else atomic_numbers[key]] = float(energy)
    if absent := [chemical_symbols[z] for z in species if z not in given]:
        raise InputError(f'E0s lack {", ".join(absent)}: add the energy of the isolated atom, or use "average"')
    return {z: given[z] for z in species}


def kept_energies(warm_start: Path) -> dict[int, float]:
    """The isolated atoms' energies that a member was trained with."""
    tables = list(read_description(warm_start)["E0s"].values())
    return {int(z): float(e) for z, e in tables[0].items()}


def bootstrap(frames: Sequence[Atoms], seed: int, head: int) -> list[Atoms]:
    """As many frames as there are, drawn with replacement: the training set of one head."""
    drawn = np.random.default_rng([seed, head]).integers(0, len(frames), len(frames))
    return [frames[k] for k in drawn]


def schedule(settings: MACESettings, frames: int) -> tuple[int, int, int]:
    """Batch size, epochs and epochs between evaluations for a training set of that size (over all heads).

    The last epoch is one that is evaluated, so that its weights can be kept.
    """
    batch = min(settings.batch_size, frames)
    per_epoch = frames // batch
    epochs = settings.epochs if settings.epochs is not None else math.ceil(settings.updates / per_epoch)
    interval = max(1, round(epochs / EVALUATIONS))
    return batch, interval * round((epochs - 1) / interval) + 1, interval


def arguments(job: TrainingJob, settings: MACESettings, scratch: Path, energies: Mapping[int, float]) -> list[str]:
    """The command line after `python -m mace.cli.run_train`."""
    frames = labelled_frames(job.train)
    valid = labelled_frames(job.valid)
    batch, epochs, interval = schedule(settings, len(frames) * job.heads)
    stress = any("REF_stress" in atoms.info and atoms.pbc.any() for atoms in frames)
    lr = settings.lr if job.warm_start is None else settings.lr_warm
    decay = (settings.lr_end / lr) ** (1.0 / max(1, epochs - 1))
    isolated = str({z: energies[z] for z in sorted(energies)})
    given: dict[str, Any] = {
        "name": "member",
        "seed": job.seed,
        "work_dir": scratch,
        "train_file": job.train.resolve(),
        "valid_file": job.valid.resolve(),
        "E0s": isolated,
        "model": "MACE",
        "num_channels": settings.channels,
        "max_L": settings.max_L,
        "max_ell": settings.max_ell,
        "correlation": settings.correlation,
        "num_interactions": settings.interactions,
        "num_radial_basis": settings.radial_basis,
        "num_cutoff_basis": settings.cutoff_basis,
        "r_max": settings.r_max,
        "loss": "stress" if stress else "weighted",
        "energy_weight": settings.energy_weight,
        "forces_weight": settings.forces_weight,
        "stress_weight": settings.stress_weight,
        "batch_size": batch,
        "valid_batch_size": min(len(valid), 10),
        "max_num_epochs": epochs,
        "eval_interval": interval,
        "patience": settings.patience,
        "lr": lr,
        "scheduler": "ExponentialLR",
        "lr_scheduler_gamma": decay,
        "ema_decay": settings.ema_decay,
        "default_dtype": settings.dtype,
        "device": settings.device,
        "plot": False,
        "pin_memory": False,
        "multiheads_finetuning": False,
    }
    if job.heads > 1:
        given["heads"] = {
            f"head-{k}": {
                "train_file": str(scratch / f"head-{k}.xyz"),
                "valid_file": str(job.valid.resolve()),
                "E0s": isolated,
            }
            for k in range(job.heads)
        }
    if job.warm_start is not None:
        given |= {"foundation_model": scratch / "start.model", "foundation_model_elements": True}
    return ["--ema", "--save_cpu", *(f"--{key}={value}" for key, value in given.items())]


def run_here(job: TrainingJob, settings: MACESettings, energies: Mapping[int, float], command: Sequence[str]) -> None:
    """Run MACE's training command in this process, which should be one made for it, and store the member."""
    import time

    import torch

    started = time.perf_counter()
    torch.set_num_threads(settings.threads)
    scratch = scratch_folder(job)
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        if job.heads > 1:
            frames = labelled_frames(job.train)
            for k in range(job.heads):
                write(scratch / f"head-{k}.xyz", bootstrap(frames, job.seed, k), format="extxyz")
        if job.warm_start is not None:
            _start_from(job.warm_start, scratch / "start.model", settings, energies)
        command = [word.replace("--device=auto", f"--device={choose_device('auto')}") for word in command]
        import e3nn
        import mace.cli.run_train as command_line
        from mace import tools

        e3nn.set_optimization_defaults(jit_script_fx=False)  # TorchScript costs seconds before the first step
        command_line.jit = None  # no second, compiled copy of the model: mace goes on without it
        print("python -m mace.cli.run_train", *command, flush=True)  # noqa: T201 - stdout is the member's log
        command_line.run(tools.build_default_arg_parser().parse_args(list(command)))
        sys.stdout.flush()
        model = torch.load(scratch / "member.model", map_location="cpu", weights_only=False)  # just written here
        curve = read_curve(job.log)
        training = {
            "member": job.member,
            "seed": job.seed,
            "command": ["python", "-m", "mace.cli.run_train", *command],
            "warm_start": None if job.warm_start is None else job.warm_start.name,
            "seconds": round(time.perf_counter() - started, 3),
            "updates": (curve[-1][0] + 1)
            * (len(labelled_frames(job.train)) * job.heads // _given(command, "batch_size")),
            "curve": curve,
            "made_by": provenance(),
        }
        write_member(job.out, model, training=training)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def scratch_folder(job: TrainingJob) -> Path:
    """Where mace writes while it trains; gone when it has."""
    return job.folder.resolve() / f"scratch-{job.member}"


def read_report(job: TrainingJob, *, skipped: bool = False) -> TrainingReport:
    """The report of a finished job, from the member itself. Raises as read_description does."""
    training = read_description(job.out)["training"]
    curve = tuple((int(epoch), float(energy), float(force)) for epoch, _, energy, force in training["curve"])
    best = min(training["curve"], key=lambda row: row[1])
    return TrainingReport(
        member=job.member,
        out=job.out,
        seconds=float(training["seconds"]),
        updates=int(training["updates"]),
        energy_rmse=float(best[2]),
        force_rmse=float(best[3]),
        curve=curve,
        warm_start=training["warm_start"] is not None,
        skipped=skipped,
    )


def read_curve(log: Path) -> list[tuple[int, float, float, float]]:
    """(epoch, loss, energy RMSE in eV/atom, force RMSE in eV/Å) of each evaluation that a log tells of.

    Of several heads the mean is given.
    """
    text = log.read_text(errors="replace", encoding="utf-8") if log.is_file() else ""
    found: dict[int, list[tuple[float, float, float]]] = {}
    for epoch, *values in _EPOCH.findall(text):
        loss, energy, force = map(float, values)
        found.setdefault(int(epoch), []).append((loss, 1e-3 * energy, 1e-3 * force))
    return [
        (epoch, *(sum(column) / len(rows) for column in zip(*rows, strict=True)))  # type: ignore[misc]
        for epoch, rows in found.items()
    ]


def _start_from(stem: Path, file: Path, settings: MACESettings, energies: Mapping[int, float]) -> None:
    """Write the member `stem`, with these energies of isolated atoms, as the model file that mace's command goes on
    from: the command keeps the file's own, whatever it is told."""
    import torch

    model, content = read_member(stem, dtype=settings.dtype)
    strangers = set(energies) - set(content["atomic_numbers"])
    if strangers:
        raise InputError(
            f"{stem.name} knows the atomic numbers {content['atomic_numbers']}, the training set also holds "
            f"{sorted(strangers)}: train from scratch this time (warm_start = None)"
        )
    table = model.atomic_energies_fn.atomic_energies
    for place, z in enumerate(content["atomic_numbers"]):
        if z in energies:
            table[..., place] = energies[z]
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    torch.save(model, file)


def _given(command: Sequence[str], name: str) -> int:
    return int(next(word for word in command if word.startswith(f"--{name}=")).split("=", 1)[1])
