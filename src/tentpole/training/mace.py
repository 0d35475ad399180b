"""MACE's own training command for one member: its arguments, and running it."""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.io import write

from tentpole.committee.committee import choose_device
from tentpole.committee.member_files import read_network, write_member
from tentpole.errors import InputError
from tentpole.execution.provenance import provenance
from tentpole.training.frames import frames_of, kept_energies
from tentpole.training.jobs import TrainingError, TrainingJob
from tentpole.training.replay import check_alike, replay_arguments, replay_of, without_replay_head, write_replay
from tentpole.training.reports import read_curve
from tentpole.training.settings import MACESettings

TOTAL = "mace-total"
EVALUATIONS = 16  # of the validation set per training: enough for a curve, too few to cost anything


def bootstrap(frames: Sequence[Atoms], seed: int, head: int) -> list[Atoms]:
    """As many frames as there are, drawn with replacement: the training set of one head."""
    drawn = np.random.default_rng([seed, head]).integers(0, len(frames), len(frames))
    return [frames[k] for k in drawn]


def schedule(settings: MACESettings, frames: int, *, warm: bool = False) -> tuple[int, int, int]:
    """Batch size, epochs and epochs between evaluations for a training set of that size (over all heads).

    The last epoch is one that is evaluated, so that its weights can be kept.
    """
    batch = min(settings.batch_size, frames)
    epochs = math.ceil(settings.updates_of(frames, warm=warm) / (frames // batch))
    interval = max(1, round(epochs / EVALUATIONS))
    return batch, interval * round((epochs - 1) / interval) + 1, interval


def arguments(job: TrainingJob, settings: MACESettings, scratch: Path, energies: Mapping[int, float]) -> list[str]:
    """The command line after `python -m mace.cli.run_train`."""
    frames, valid = frames_of([job], settings).of(0)
    size, warm = settings.model, job.warm_start is not None
    replay = replay_of(job, settings, len(frames))
    in_epoch = len(frames) * job.heads if replay is None else replay.in_epoch(len(frames))
    batch, epochs, interval = schedule(settings, in_epoch, warm=warm)
    stress = any("REF_stress" in atoms.info and atoms.pbc.any() for atoms in frames)
    lr, lr_end = settings.rates(warm=warm)
    decay = (lr_end / lr) ** (1.0 / max(1, epochs - 1))
    zeros = dict.fromkeys(sorted(energies), 0.0)  # the labels are written without them
    isolated = str(dict(sorted(energies.items())) if settings.loop == TOTAL else zeros)
    given: dict[str, Any] = {
        "name": "member",
        "seed": job.seed,
        "work_dir": scratch,
        "train_file": scratch / "train.xyz",
        "valid_file": scratch / "valid.xyz",
        "E0s": isolated,
        "model": "MACE",
        "num_channels": size.channels,
        "max_L": size.max_L,
        "max_ell": size.max_ell,
        "correlation": size.correlation,
        "num_interactions": settings.interactions,
        "num_radial_basis": size.radial_basis,
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
        "default_dtype": size.dtype,
        "device": settings.device,
        "plot": False,
        "pin_memory": False,
        "multiheads_finetuning": False,
    }
    if job.heads > 1:
        given["heads"] = {
            f"head-{k}": {
                "train_file": str(scratch / f"head-{k}.xyz"),
                "valid_file": str(scratch / "valid.xyz"),
                "E0s": isolated,
            }
            for k in range(job.heads)
        }
    if job.warm_start is not None:
        given |= {"foundation_model": scratch / "start.model", "foundation_model_elements": True}
    if settings.finetuning == "lora":
        given |= {"lora": True, "lora_rank": settings.lora_rank, "lora_alpha": float(settings.lora_rank)}
    if replay is not None:
        given |= replay_arguments(scratch)
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
        less = {} if settings.loop == TOTAL else energies
        frames, valid = (_less(part, less) for part in frames_of([job], settings).of(0))
        replay = replay_of(job, settings, len(frames))
        if replay is not None:
            frames = replay.repeated(frames)
            write_replay(replay, scratch)
        write(scratch / "train.xyz", frames, format="extxyz")
        write(scratch / "valid.xyz", valid, format="extxyz")
        for k in range(job.heads if job.heads > 1 else 0):
            write(scratch / f"head-{k}.xyz", bootstrap(frames, job.seed, k), format="extxyz")
        if job.warm_start is not None:
            _start_from(job.warm_start, scratch / "start.model", settings, energies)
        command = [word.replace("--device=auto", f"--device={choose_device('auto')}") for word in command]
        sys.stdout.write(" ".join(["python -m mace.cli.run_train", *command]) + "\n")  # the log's first line
        sys.stdout.flush()
        import e3nn
        from mace import tools

        command_line = training_command()
        e3nn.set_optimization_defaults(jit_script_fx=False)  # TorchScript costs seconds before the first step
        command_line.jit = None  # no second, compiled copy of the model: mace goes on without it
        print("python -m mace.cli.run_train", *command, flush=True)  # noqa: T201 - stdout is the member's log
        command_line.run(tools.build_default_arg_parser().parse_args(list(command)))
        sys.stdout.flush()
        model = torch.load(scratch / "member.model", map_location="cpu", weights_only=False)  # just written here
        if settings.finetuning == "lora":
            _check_low_rank(torch.load(scratch / "start.model", map_location="cpu", weights_only=False), model)
        if replay is not None:
            both, log = model, job.log.read_text(encoding="utf-8", errors="replace")
            model = without_replay_head(both, log, len(frames), len(replay.train))
            check_alike(both, model, frames[0])
        if less:
            _give_back(model, less if replay is None else _with_absent(job, less))
        curve = read_curve(job.log)
        in_epoch = len(frames) * job.heads + (0 if replay is None else len(replay.train))
        training = {
            "member": job.member,
            "seed": job.seed,
            "command": ["python", "-m", "mace.cli.run_train", *command],
            "warm_start": None if job.warm_start is None else job.warm_start.name,
            "seconds": round(time.perf_counter() - started, 3),
            "updates": (curve[-1][0] + 1) * (in_epoch // _given(command, "batch_size")),
            "curve": curve,
            **({"finetuning": settings.finetuning} if settings.finetuning != "naive" else {}),
            "made_by": provenance(),
        }
        write_member(job.out, model, training=training, baseline=job.baseline)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def training_command() -> Any:
    """The module of mace's training command, in a process made for it: torch reads any pickle there from then on.

    The command reads back models that it has written itself.
    """
    os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"
    import mace.cli.run_train
    import torch

    torch._dynamo.reset  # noqa: B018 - its optimiser imports torch's compiler, which takes seconds: here, once
    return mace.cli.run_train


def scratch_folder(job: TrainingJob) -> Path:
    """Where mace writes while it trains; gone when it has."""
    return job.folder.resolve() / f"scratch-{job.member}"


def _less(frames: Sequence[Atoms], energies: Mapping[int, float]) -> list[Atoms]:
    """Copies of the frames, their energies less those of the isolated atoms: float32 would lose the last digits."""
    without = []
    for atoms in frames:
        copy = atoms.copy()
        isolated = sum(energies.get(int(z), 0.0) for z in atoms.numbers)
        copy.info["REF_energy"] = float(atoms.info["REF_energy"]) - isolated
        without.append(copy)
    return without


def _give_back(model: Any, energies: Mapping[int, float]) -> None:
    """Add the isolated atoms' energies to those of the model, in double precision."""
    table = model.atomic_energies_fn.atomic_energies.double()
    for place, z in enumerate(int(z) for z in model.atomic_numbers):
        table[..., place] += energies.get(z, 0.0)
    model.atomic_energies_fn.atomic_energies = table


def _with_absent(job: TrainingJob, energies: Mapping[int, float]) -> dict[int, float]:
    """The energies, and the start's own of elements that no label has: beside a replayed head mace sets these to 0."""
    assert job.warm_start is not None
    return {**kept_energies(job.warm_start), **energies}


def _start_from(stem: Path, file: Path, settings: MACESettings, energies: Mapping[int, float]) -> None:
    """Write the member `stem` as the model file that mace's command goes on from.

    Its energies of isolated atoms are those that are still in the labels: the command keeps the file's own, whatever it
    is told.
    """
    import torch

    model, content = read_network(stem, dtype=settings.model.dtype)
    unknown_species = set(energies) - set(content["atomic_numbers"])
    if unknown_species:
        raise InputError(
            f"{stem.name} knows the atomic numbers {content['atomic_numbers']}, the training set also holds "
            f"{sorted(unknown_species)}: train from scratch this time (warm_start = None)"
        )
    table = model.atomic_energies_fn.atomic_energies
    for place, z in enumerate(content["atomic_numbers"]):
        if z in energies:
            table[..., place] = energies[z] if settings.loop == TOTAL else 0.0
    if settings.finetuning == "replay":  # of one element in one head mace makes a scalar there, and fails
        model.atomic_energies_fn.atomic_energies = table.reshape(-1)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    torch.save(model, file)


def _check_low_rank(start: Any, model: Any) -> None:
    """Raise TrainingError where mace's command has not trained changes of low rank, and merged them into the model."""
    before, after = dict(start.named_parameters()), dict(model.named_parameters())
    kept = [name for name in before if "symmetric_contractions" in name]  # which have no linear layer
    moved = [name for name in before if not before[name].detach().equal(after[name].detach())]
    if set(kept) & set(moved) or not moved or not before.keys() <= after.keys():
        raise TrainingError(
            "mace's command has not trained changes of low rank: "
            + (f"{', '.join(kept)} changed" if set(kept) & set(moved) else "no weight changed, or they are not merged")
            + '. This mace-torch does it in another way than 0.3.16: set [training] finetuning = "naive"'
        )


def _given(command: Sequence[str], name: str) -> int:
    return int(next(word for word in command if word.startswith(f"--{name}=")).split("=", 1)[1])
