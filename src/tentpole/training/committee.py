"""A whole committee trained: members side by side, each in its own process, each resumed where it is done."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, replace
from typing import Any

from ase.data import chemical_symbols

from tentpole.committee.committee_files import write_committee_file
from tentpole.committee.member_files import description_file
from tentpole.errors import InputError, StateError, TentpoleError
from tentpole.storage.structures import labelled_frames
from tentpole.training.client import ServerLost, the_server
from tentpole.training.jobs import TrainingError, TrainingJob, TrainingReport
from tentpole.training.mace import (
    MACESettings,
    arguments,
    isolated_energies,
    kept_energies,
    read_curve,
    read_report,
    schedule,
    scratch_folder,
)
from tentpole.training.node import ATTEMPTS, train_all

FULL_B = 1_000_000  # a training writes more than that: with less free, the disk is what stopped it
Progress = Callable[[int, int, int], None]


def prepare() -> None:
    """Start the training process in the background, so that its seven seconds of imports pass unnoticed."""
    the_server()


def train_member(job: TrainingJob, settings: MACESettings) -> TrainingReport:
    """Train one member, or read its report where it is there already. Raises TrainingError, InputError."""
    return train_committee([job], settings, workers=1)[0]


def train_committee(
    jobs: Sequence[TrainingJob],
    settings: MACESettings,
    workers: int | None = None,
    on_progress: Progress | None = None,
    executor: Executor | None = None,
    energies: dict[int, float] | None = None,
) -> list[TrainingReport]:
    """Train all `jobs` and report in their order: here, `workers` at a time (None: one per core), or all at once
    by `executor`, whose workers see the same files. energies : eV, of the isolated atoms in all members; None: as
    `common_energies` finds them.

    A job whose member is there is not run again. on_progress(member, epoch, epochs) is called from this thread
    as the logs grow. When all members are there and share a folder, its committee.json says so. Raises
    InputError before anything starts where files or settings are wrong, TrainingError when a training fails;
    the others are stopped then, and members that were finished stay.
    """
    if not jobs:
        raise InputError("no training jobs given")
    waiting = [job for job in jobs if not description_file(job.out).is_file()]
    skipped = {job.member for job in jobs} - {job.member for job in waiting}
    if waiting:
        energies = common_energies(jobs, settings) if energies is None else energies
        orders = [_order(number, job, settings, energies) for number, job in enumerate(waiting)]
        tell = _teller(waiting, settings, on_progress)
        if executor is None:
            _run(waiting, orders, workers or os.cpu_count() or 1, tell)
        else:
            for answer in train_all(orders, executor, pause_s=1.0):
                if answer is not None and answer[1] != 0:
                    raise _failure(waiting[answer[0]], answer[1])
                tell()
    folders = {job.out.parent for job in jobs}
    if len(folders) == 1:
        write_committee_file(folders.pop(), [job.out.name for job in jobs])
    return [read_report(job, skipped=job.member in skipped) for job in jobs]


def common_energies(jobs: Sequence[TrainingJob], settings: MACESettings) -> dict[int, float]:
    """The isolated atoms' energies for all members: those of the warm starts, else given, else fitted once.

    Raises InputError where warm starts differ among themselves: their offsets would pass for uncertainty.
    """
    frames = [atoms for path in sorted({job.train for job in jobs}) for atoms in labelled_frames(path)]
    starts = [job for job in jobs if job.warm_start is not None]
    if any(job.heads > 1 for job in starts):
        raise InputError("a shallow committee (heads > 1) is trained from scratch: set warm_start = None")
    if not starts:
        return isolated_energies(settings, frames)
    if len(starts) < len(jobs):
        raise InputError("some members start warm and some from scratch: their energies would differ in origin")
    tables = [kept_energies(job.warm_start) for job in starts if job.warm_start is not None]
    if any(table != tables[0] for table in tables):
        raise InputError("these members were trained with different E0s: train them from scratch, together")
    species = {int(z) for atoms in frames for z in atoms.numbers}
    if strangers := sorted(species - set(tables[0])):
        names = ", ".join(chemical_symbols[z] for z in strangers)
        raise InputError(f"the last round's models do not know {names}: train from scratch this time")
    return tables[0]


def _order(number: int, job: TrainingJob, settings: MACESettings, energies: dict[int, float]) -> dict[str, Any]:
    command = arguments(job, settings, scratch_folder(job), energies)
    absolute = replace(
        job,
        **{name: getattr(job, name).resolve() for name in ("train", "valid", "folder", "out")},
        warm_start=None if job.warm_start is None else job.warm_start.resolve(),
    )
    return {
        "id": number,
        "job": asdict(absolute),
        "settings": asdict(settings),
        "energies": energies,
        "command": command,
    }


def _teller(jobs: Sequence[TrainingJob], settings: MACESettings, on_progress: Progress | None) -> Callable[[], None]:
    """What tells on_progress how far the logs have come since it was last called."""
    if on_progress is None:
        return lambda: None
    epochs = {job.member: schedule(settings, len(labelled_frames(job.train)) * job.heads)[1] for job in jobs}
    told = {job.member: -1 for job in jobs}

    def tell() -> None:
        for job in jobs:
            curve = read_curve(job.log)
            if curve and curve[-1][0] + 1 != told[job.member]:
                told[job.member] = curve[-1][0] + 1
                on_progress(job.member, told[job.member], epochs[job.member])

    return tell


def _run(
    jobs: Sequence[TrainingJob],
    orders: Sequence[dict[str, Any]],
    workers: int,
    tell: Callable[[], None],
) -> None:
    """Train all orders in the training process. One that is killed is trained again, and so are all where the process
    itself is; what is written stays, and what is trained again comes out the same."""
    killed: Counter[int] = Counter()
    waiting = list(orders)
    while waiting:
        try:
            _on_server(jobs, waiting, workers, tell, killed)
        except ServerLost:
            killed[_SERVER] += 1
            if killed[_SERVER] >= ATTEMPTS:
                raise
        waiting = [order for order in orders if not description_file(jobs[order["id"]].out).is_file()]


_SERVER = -1  # beside the numbers of orders


def _on_server(
    jobs: Sequence[TrainingJob],
    orders: Sequence[dict[str, Any]],
    workers: int,
    tell: Callable[[], None],
    killed: Counter[int],
) -> None:
    server = the_server()
    waiting, running = list(orders), set[int]()
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                order = waiting.pop(0)
                server.send(order)
                running.add(order["id"])
            answers = server.answers(timeout_s=0.2)
            running -= {answer["id"] for answer in answers}  # all of them, before one that failed ends this
            for answer in answers:
                number, status = answer["id"], answer["status"]
                killed[number] += status < 0
                if status > 0 or killed[number] >= ATTEMPTS:
                    raise _failure(jobs[number], status)
                if status < 0:
                    waiting[:0] = [order for order in orders if order["id"] == number]
            tell()
    finally:
        for number in running if server.alive else ():
            server.send({"kill": number})
        while running and server.alive:
            running -= {answer["id"] for answer in server.answers(timeout_s=0.2)}


def _failure(job: TrainingJob, status: int) -> TentpoleError:
    if (free := shutil.disk_usage(job.folder).free) < FULL_B:
        return StateError(
            f"{job.folder}: member {job.member} could not be trained: {free} bytes are free there. Make room, then run "
            "the same again to go on: members that are finished are kept."
        )
    lines = job.log.read_text(errors="replace", encoding="utf-8").splitlines() if job.log.is_file() else []
    how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
    last = "\n    ".join(lines[-15:]) or "(empty)"
    return TrainingError(
        f"the training of member {job.member} {how}. Its log, {job.log}, ends with\n    {last}\n"
        "Run the same again to go on: members that are finished are kept."
    )
