"""A study from its MD to its errors: one folder, resumable at any instant, runs side by side."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tentpole.benchmarks.runs import SAMPLING, do_all, do_here, logged, refuse_all_but
from tentpole.benchmarks.sampling.config import (
    PRETRAINING,
    TABLES,
    VALIDATION,
    VERSION,
    Study,
    study_from_json,
    study_to_json,
)
from tentpole.benchmarks.sampling.driving import Trajectory, walk
from tentpole.benchmarks.sampling.growth import Growth, pretrain, shared_trajectories
from tentpole.benchmarks.sampling.paths import StudyPaths, read_versioned
from tentpole.benchmarks.sampling.sets import labelled_set, set_tasks, set_trajectories, sets_of, write_frames_of
from tentpole.errors import StateError, TentpoleError
from tentpole.execution.pools import Workers
from tentpole.labeling import Task
from tentpole.progress import NoProgress, ProgressListener
from tentpole.storage.atomic import write_json
from tentpole.storage.lock import Lock
from tentpole.storage.structures import write_frames
from tentpole.training.settings import completed

Do = Callable[[Callable[[Any], None], Sequence[Any], Callable[[], None]], list[tuple[Any, BaseException]]]
"""Does each of some jobs, looks now and then, and returns those that failed with their errors."""


def run(study: Study, folder: Path, *, parallel: int | None = None, progress: ProgressListener | None = None) -> Path:
    """Do all of the study that is missing in `folder`, in `parallel` processes (None: one per core).

    Parameters
    ----------
    study : Study
        As `read_study` gives it.
    folder : Path
        The study's; policies, draws, test sets and larger sizes may join one that is there.
    parallel : int, optional
        Trajectories, labels and runs at the same time, one thread each; with 1, trajectories and runs are done in this
        process. No result depends on it.
    progress : ProgressListener, optional
        Told how far it is.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    StateError
        Where the folder holds another study, or another driver works there.
    TentpoleError
        Where trajectories, labels of a whole set or runs failed, when the others of their stage have ended.
    """
    screen, paths = progress or NoProgress(), StudyPaths(folder)
    refuse_all_but(SAMPLING, folder)
    with Lock(folder):
        _claim(study, paths)
        hired = Workers(parallel or os.cpu_count() or 1)
        alone = hired.processes == 1
        do = do_here if alone else partial(_side_by_side, hired, folder)
        try:
            _try_teacher(hired, study, paths)
            _make_md(do, study, paths, screen)
            _make_sets(hired, study, paths, screen)
            _pretrain(do, study, paths, screen)
            _grow(do, _one_run if alone else _logged_run, study, paths, screen)
        finally:
            hired.close(at_once=True)
    return folder


def _side_by_side(hired: Workers, folder: Path, work: Any, jobs: Any, look: Any) -> Any:
    return do_all(hired, work, jobs, folder, look)


def _claim(study: Study, paths: StudyPaths) -> None:
    """Make the folder this study's, or see that it is."""
    if paths.settings.is_file() and (different := differences(study, paths.root)):
        raise StateError(
            f"{paths.root} holds another study ({', '.join(different)} differ): take another folder. Policies, "
            "draws, test sets and larger sizes may be added."
        )
    write_json(paths.settings, study_to_json(study))


def differences(study: Study, folder: Path) -> list[str]:
    """What keeps a study from being the one in `folder`: policies, draws, tests and larger sizes may join."""
    new, old = study_to_json(study), read_versioned(StudyPaths(folder).settings, VERSION)
    one, other = new["study"], {**old["study"], "training": completed(old["study"]["training"])}
    found = [key for key in ("teacher", "driver", "starts", "cheap") if new.get(key) != old.get(key)]
    for table in TABLES:
        both = [name for name in one[table] if name in other[table]]
        found += [f"{table}.{name}" for name in both if one[table][name] != other[table][name]]
    files = {name: digest for name, digest in new["frames"].items() if name in old["frames"]}
    found += [f"tests.{name}.file" for name, digest in files.items() if old["frames"][name] != digest]
    if one["sizes"][: len(other["sizes"])] != other["sizes"]:
        found.append("sizes")
    free = ("teacher", "driver", "structures", "draws", "sizes", "baseline", *TABLES)
    return sorted({*found, *(key for key in one if key not in free and one[key] != other.get(key))})


def _try_teacher(hired: Workers, study: Study, paths: StudyPaths) -> None:
    """Label the starting structures: a teacher that cannot is found out before anything is spent."""
    tasks = {
        name: Task(paths.root, study.teacher, atoms, *study.state(name), root_exists=True)
        for name, atoms in study.starts.items()
    }
    failed = _label(hired, list(tasks.values()))
    for name, task in tasks.items():
        if task.name in failed:
            raise TentpoleError(f'the teacher cannot label the structure "{name}": {failed[task.name]}')


def _label(hired: Workers, tasks: Sequence[Task], tell: Any = lambda: None) -> dict[str, str]:
    """Labels of all tasks. Returns what failed by name, and why."""
    from tentpole.labeling import label_all

    failed = {}
    for outcome in label_all(tasks, hired.executor):
        if not outcome.ok:
            failed[outcome.name] = outcome.message
        tell()
    return failed


def _make_md(do: Do, study: Study, paths: StudyPaths, screen: ProgressListener) -> None:
    """All MD that a reference drives: of the policies, once for each way of driving and draw, and of the tests."""
    jobs = {job.file: job for job in _all_trajectories(study, paths)}
    missing = [job for file, job in jobs.items() if not file.is_file()]

    def look() -> None:
        done = sum(job.file.is_file() for job in missing)
        screen.progress("MD", len(jobs) - len(missing) + done, len(jobs))

    look()
    failed = do(walk, missing, look)
    _raise_for([f"{job.file.parent.name}, {job.condition}: {_words(error)}" for job, error in failed], "trajectories")


def _all_trajectories(study: Study, paths: StudyPaths) -> Iterable[Trajectory]:
    for name in sets_of(study):
        if not paths.frames(name).is_file():
            yield from set_trajectories(study, paths, name)
    for draw in study.config.draws:
        for policy in study.config.policies.values():
            yield from shared_trajectories(study, paths, policy, draw)


def _make_sets(hired: Workers, study: Study, paths: StudyPaths, screen: ProgressListener) -> None:
    """Test sets and validation frames with their labels."""
    tasks: list[Task] = []
    for name in sets_of(study):
        write_frames_of(study, paths, name)
        tasks += set_tasks(study, paths, name)
    done = 0

    def tell() -> None:
        nonlocal done
        done += 1
        screen.progress("labels of test sets", done, len(tasks))

    failed = _label(hired, tasks, tell)
    if failed:
        screen.note(f"{len(failed)} of {len(tasks)} test frames got no label, the first: {next(iter(failed.values()))}")
    if not paths.valid.is_file():
        write_frames(paths.valid, labelled_set(study, paths, VALIDATION).frames)
    if study.cheap is not None and not paths.cheap.is_file():
        write_frames(paths.cheap, labelled_set(study, paths, PRETRAINING).frames)


def _pretrain(do: Do, study: Study, paths: StudyPaths, screen: ProgressListener) -> None:
    """The members of every draw, trained on the cheap reference; none where they begin with random weights."""
    if study.cheap is None:
        return
    draws = study.config.draws
    screen.progress("pretraining", 0, len(draws))
    failed = do(partial(_one_pretraining, paths.root), draws, lambda: None)
    _raise_for([f"draw {draw}: {_words(error)}" for draw, error in failed], "pretrainings")
    screen.progress("pretraining", len(draws), len(draws))


def _grow(
    do: Do, one: Callable[[Path, tuple[str, int]], None], study: Study, paths: StudyPaths, screen: ProgressListener
) -> None:
    """All policies under all draws."""
    config = study.config
    runs = [(name, draw) for draw in config.draws for name in config.policies]
    total = len(runs) * len(config.sizes)
    told: set[Path] = set()

    def look() -> None:
        for name, draw in runs:
            for size in config.sizes:
                here = paths.run(name, draw).size(size)
                if here.root not in told and all(here.errors(test).is_file() for test in config.tests):
                    told.add(here.root)
        screen.progress("policies", len(told), total)

    look()
    failed = do(partial(one, paths.root), runs, look)
    _raise_for(
        [f"{name}, draw {draw}: {_words(error)} (see {paths.run(name, draw).root})" for (name, draw), error in failed],
        "runs",
    )


def _one_run(folder: Path, run: tuple[str, int]) -> None:
    """One policy under one draw."""
    import torch

    torch.set_num_threads(1)  # runs beside this one want their cores
    settings = read_versioned(StudyPaths(folder).settings, VERSION)
    Growth(study_from_json(settings), folder, *run).run()


def _one_pretraining(folder: Path, draw: int) -> None:
    import torch

    torch.set_num_threads(1)
    pretrain(study_from_json(read_versioned(StudyPaths(folder).settings, VERSION)), folder, draw)


def _logged_run(folder: Path, run: tuple[str, int]) -> None:
    """The same in a worker: what is printed is in a log of its own."""
    with logged(StudyPaths(folder).run(*run).root):
        _one_run(folder, run)


def _raise_for(failed: Sequence[str], what: str) -> None:
    if failed:
        raise TentpoleError(f"{len(failed)} {what} failed: {'; '.join(failed[:5])}. The same command goes on.")


def _words(error: BaseException) -> str:
    return str(error) if isinstance(error, TentpoleError) else f"{type(error).__name__}: {error}"
