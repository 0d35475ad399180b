"""A whole committee trained: members side by side, each in its own process, each resumed where it is done."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, replace
from typing import Any

from ase.data import chemical_symbols

from tentpole.committee.committee_files import write_committee_file
from tentpole.committee.graph import edges_within
from tentpole.committee.member_files import description_file, read_description
from tentpole.errors import InputError, StateError, TentpoleError
from tentpole.storage.structures import labelled_frames
from tentpole.training.client import ServerLost, the_server
from tentpole.training.frames import frames_of, isolated_energies, kept_energies, learned_frames
from tentpole.training.jobs import TrainingError, TrainingJob, TrainingReport
from tentpole.training.mace import arguments, scratch_folder
from tentpole.training.node import ATTEMPTS, train_all
from tentpole.training.reports import read_progress, read_report
from tentpole.training.settings import BY_MACE, MACESettings

SMALL = 20_000  # pairs of atoms × channels in a batch: above, arithmetic outweighs the starting of operations
FULL_B = 1_000_000  # a training writes more than that: with less free, the disk is what stopped it
Progress = Callable[[int, int, int], None]


def train_committee(
    jobs: Sequence[TrainingJob],
    settings: MACESettings,
    workers: int | None = None,
    on_progress: Progress | None = None,
    executor: Executor | None = None,
    energies: dict[int, float] | None = None,
    *,
    finishing: bool = False,
) -> list[TrainingReport]:
    """Train all `jobs` and report in their order.

    Small members train as one, a few in a process; which ones does not depend on `workers`. A job whose member is
    there is not run again, and a training that was stopped goes on from its last checkpoint. When all members are
    there and share a folder, its committee.json says so.

    Parameters
    ----------
    jobs : sequence of TrainingJob
        One per member.
    settings : MACESettings
        The same for all.
    workers : int, optional
        Processes at a time on this machine; None: one per core.
    on_progress : callable, optional
        on_progress(member, update, updates) is called from this thread as the logs grow.
    executor : concurrent.futures.Executor, optional
        Trains all at once; its workers see the same files.
    energies : dict of int to float, optional
        eV, of the isolated atoms in all members by atomic number; None: as `common_energies` finds them.
    finishing : bool
        Train until the errors no longer fall instead of for the usual number of updates; for what is judged or handed
        out.

    Returns
    -------
    list of TrainingReport
        One per job.

    Raises
    ------
    InputError
        Before anything starts, where files or settings are wrong.
    TrainingError
        When a training fails; the others are stopped then, and members that were finished stay.
    """
    if not jobs:
        raise InputError("no training jobs given")
    _check_start(jobs, settings)
    skipped = {job.member for job in jobs if description_file(job.out).is_file()}
    if len(skipped) < len(jobs):
        energies = common_energies(jobs, settings) if energies is None else energies
        together = [group for group in groups(jobs, settings) if not {job.member for job in group} <= skipped]
        orders = [_order(number, group, settings, energies, finishing) for number, group in enumerate(together)]
        tell = _teller([job for group in together for job in group if job.member not in skipped], on_progress)
        if executor is None:
            _run(together, orders, workers or os.cpu_count() or 1, tell)
        else:
            for answer in train_all(orders, executor, pause_s=1.0):
                if answer is not None and answer[1] != 0:
                    raise _failure(together[answer[0]], answer[1])
                tell()
    folders = {job.out.parent for job in jobs}
    if len(folders) == 1:
        write_committee_file(folders.pop(), [job.out.name for job in jobs])
    return [read_report(job, skipped=job.member in skipped) for job in jobs]


def _check_start(jobs: Sequence[TrainingJob], settings: MACESettings) -> None:
    """Raise InputError where members cannot be fine-tuned as `settings` ask."""
    if settings.solve != "no" and not is_stackable(jobs, settings):
        starts = [read_description(job.warm_start)["hyperparameters"] for job in jobs if job.warm_start is not None]
        why = next(filter(None, map(not_stackable, starts)), "several heads")
        raise InputError(f'solve = "{settings.solve}" cannot be had of such members ({why}): solve = "no"')
    if settings.solve == "instead" and any(job.warm_start is None for job in jobs):
        raise InputError('solve = "instead" changes trained members, and there are none to go on from: solve = "after"')
    if settings.finetuning not in BY_MACE:
        return
    asked = f'finetuning = "{settings.finetuning}"'
    for job in jobs:
        if job.warm_start is None:
            raise InputError(
                f'{asked} changes a model, and {job.out.name} has none to go on from: finetuning = "naive"'
            )
        if settings.finetuning == "replay" and job.replay is None:
            raise InputError(
                f"{asked} needs frames of what {job.warm_start.name} knows: a campaign with [pretraining] has "
                "them, and in Python TrainingJob(..., replay=FILE)"
            )


def groups(jobs: Sequence[TrainingJob], settings: MACESettings) -> list[list[TrainingJob]]:
    """The jobs that are trained as one, by the files and the settings alone.

    Small members train together, large ones by themselves, and so do those that only mace's own command can train.
    """
    if not is_stackable(jobs, settings) or settings.solve == "instead":
        return [[job] for job in jobs]
    most = settings.together if _pairs_in_batch(jobs[0], settings) * settings.model.channels <= SMALL else 1
    return [list(jobs[k : k + most]) for k in range(0, len(jobs), most)]


def is_stackable(jobs: Sequence[TrainingJob], settings: MACESettings) -> bool:
    """Whether our own loop can train them: models as it builds them, with one head."""
    if settings.loop != "stacked" or any(job.heads > 1 for job in jobs):
        return False
    starts = [read_description(job.warm_start) for job in jobs if job.warm_start is not None]
    shapes = [{**start["hyperparameters"], "dtype": start["dtype"]} for start in starts]
    return all(shape == shapes[0] for shape in shapes) and all(_is_ours(shape) for shape in shapes)


def _is_ours(hyperparameters: Mapping[str, Any]) -> bool:
    return not not_stackable(hyperparameters)


def not_stackable(hyperparameters: Mapping[str, Any]) -> str:
    """What keeps a model from being trained by our own loop, as "key = value"; "" where nothing does."""
    plain = {
        "pair_repulsion": False,
        "apply_cutoff": True,
        "use_so3": False,
        "use_agnostic_product": False,
        "use_last_readout_only": False,
        "edge_irreps": None,
        "distance_transform": "None",
        "interaction_cls": "RealAgnosticResidualInteractionBlock",
        "readout_cls": "NonLinearReadoutBlock",
    }
    first = ("RealAgnosticInteractionBlock", "RealAgnosticResidualInteractionBlock")
    other = [name for name, value in plain.items() if hyperparameters.get(name) != value]
    if hyperparameters["interaction_cls_first"] not in first:
        other.append("interaction_cls_first")
    if len(hyperparameters["heads"]) != 1:
        other.append("heads")
    if any(spec["type"] != "categorical" for spec in hyperparameters.get("embedding_specs", ())):
        other.append("embedding_specs")
    return ", ".join(f"{name} = {hyperparameters.get(name)}" for name in other)


def _pairs_in_batch(job: TrainingJob, settings: MACESettings) -> float:
    """Pairs of neighbours in a batch, from a few frames of the training file."""
    frames = labelled_frames(job.train)
    some = frames[:: max(1, len(frames) // 5)]
    return settings.batch_size * sum(len(edges_within(atoms, settings.r_max).i) for atoms in some) / (2 * len(some))


def common_energies(jobs: Sequence[TrainingJob], settings: MACESettings) -> dict[int, float]:
    """The isolated atoms' energies for all members: those of the warm starts, else given, else fitted once.

    Raises InputError where warm starts differ among themselves: their offsets would pass for uncertainty.
    """
    frames = [atoms for path in sorted({job.train for job in jobs}) for atoms in learned_frames(path)]
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
    if unknown_species := sorted(species - set(tables[0])):
        names = ", ".join(chemical_symbols[z] for z in unknown_species)
        raise InputError(f"the last round's models do not know {names}: train from scratch this time")
    return tables[0]


def _order(
    number: int, group: Sequence[TrainingJob], settings: MACESettings, energies: dict[int, float], finishing: bool
) -> dict[str, Any]:
    frames_of(group, settings)  # raises for files that cannot be used
    absolute = [
        replace(
            job,
            **{name: getattr(job, name).resolve() for name in ("train", "folder", "out")},
            valid=None if job.valid is None else job.valid.resolve(),
            warm_start=None if job.warm_start is None else job.warm_start.resolve(),
            replay=None if job.replay is None else job.replay.resolve(),
        )
        for job in group
    ]
    command = None
    if not is_stackable(group, settings):
        command = arguments(group[0], settings, scratch_folder(group[0]), energies)
    return {
        "id": number,
        "jobs": [asdict(job) for job in absolute],
        "settings": asdict(settings),
        "energies": energies,
        "finishing": finishing,
        "command": command,
    }


def _teller(jobs: Sequence[TrainingJob], on_progress: Progress | None) -> Callable[[], None]:
    """What tells on_progress how far the logs have come since it was last called."""
    if on_progress is None:
        return lambda: None
    told: dict[int, tuple[int, int] | None] = {job.member: None for job in jobs}

    def tell() -> None:
        for job in jobs:
            come = read_progress(job.log)
            if come is not None and come != told[job.member]:
                told[job.member] = come
                on_progress(job.member, *come)

    return tell


def _run(
    together: Sequence[Sequence[TrainingJob]],
    orders: Sequence[dict[str, Any]],
    workers: int,
    tell: Callable[[], None],
) -> None:
    """Train all orders in the training process.

    One that is killed is trained again, and so are all where the process itself is; what is written stays, and what is
    trained again comes out the same.
    """
    killed: Counter[int] = Counter()
    waiting = list(orders)
    while waiting:
        try:
            _on_server(together, waiting, workers, tell, killed)
        except ServerLost:
            killed[_SERVER] += 1
            if killed[_SERVER] >= ATTEMPTS:
                raise
        waiting = [order for order in orders if not _is_there(together[order["id"]])]


_SERVER = -1  # beside the numbers of orders


def _is_there(group: Sequence[TrainingJob]) -> bool:
    return all(description_file(job.out).is_file() for job in group)


def _on_server(
    together: Sequence[Sequence[TrainingJob]],
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
                    raise _failure(together[number], status)
                if status < 0:
                    waiting[:0] = [order for order in orders if order["id"] == number]
            tell()
    finally:
        if running and server.alive:
            server.stop(running)


def _failure(group: Sequence[TrainingJob], status: int) -> TentpoleError:
    job, names = group[0], ", ".join(str(job.member) for job in group)
    if (free := shutil.disk_usage(job.folder).free) < FULL_B:
        return StateError(
            f"{job.folder}: member {names} could not be trained: {free} bytes are free there. Make room, then run "
            "the same again to go on: members that are finished are kept."
        )
    lines = job.log.read_text(errors="replace", encoding="utf-8").splitlines() if job.log.is_file() else []
    how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
    last = "\n    ".join(lines[-15:]) or "(empty)"
    return TrainingError(
        f"the training of member {names} {how}. Its log, {job.log}, ends with\n    {last}\n"
        "Run the same again to go on: members that are finished are kept."
    )
