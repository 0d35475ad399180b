"""One training in a worker anywhere that shares the campaign's folder: a node of a queue, or this machine."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import suppress
from pathlib import Path
from typing import Any

from tentpole.committee.member_files import description_file
from tentpole.errors import TentpoleError
from tentpole.execution.ownership import is_in_use, own_folder
from tentpole.execution.worker import watched
from tentpole.training.client import Server
from tentpole.training.jobs import TrainingError

ATTEMPTS = 3  # of a training whose node was lost, without a newer checkpoint
POLL_S = 0.5


def train_on_node(order: dict[str, Any]) -> int:
    """Train the members that `order` (as the training process takes it) asks for, and write them here, atomically.

    Members that are there are not trained again, and those that a worker of an earlier driver is still at are waited
    for. Returns the training's exit status, 0 when the members are there.
    """
    outs, place = [Path(job["out"]) for job in order["jobs"]], Path(order["jobs"][0]["folder"])
    name = outs[0].name
    while not _all_there(outs) and any(map(is_in_use, place.glob(f"tmp-{name}-*"))):
        time.sleep(POLL_S)
    if _all_there(outs):
        return 0
    for left in place.glob(f"tmp-{name}-*"):
        shutil.rmtree(left, ignore_errors=True)
    folder = own_folder(place, name)
    folder.mkdir(parents=True)
    try:
        with watched(folder, None, None, beat=True):
            return _train(order)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _all_there(outs: list[Path]) -> bool:
    return all(description_file(out).is_file() for out in outs)


def _train(order: dict[str, Any]) -> int:
    server = Server()
    try:
        server.send(order)
        while not (answers := server.answers(timeout_s=POLL_S)):
            continue
        return int(answers[0]["status"])
    finally:
        server.close()


Marks = frozenset[tuple[str, int]]
"""Names and times of files."""


def _checkpoints(order: dict[str, Any]) -> Marks:
    """The checkpoints of a training, by which it shows that it has come further."""
    marks = set()
    for file in Path(order["jobs"][0]["folder"]).glob("training-*.safetensors"):
        with suppress(FileNotFoundError):  # one that has ended meanwhile
            marks.add((file.name, file.stat().st_mtime_ns))
    return frozenset(marks)


def train_all(orders: list[dict[str, Any]], executor: Executor, pause_s: float) -> Iterator[tuple[int, int] | None]:
    """Have `executor` train all orders: the id and exit status of each as it ends, None after each pause without.

    A training whose worker is lost is tried again, ATTEMPTS times in a row without a newer checkpoint: one that takes
    longer than its jobs may goes on in job after job. Leaving the iteration cancels what has not begun.
    """
    running: dict[Future[int], tuple[dict[str, Any], int, Marks]] = {}
    try:
        for order in orders:
            running[executor.submit(train_on_node, order)] = (order, 1, _checkpoints(order))
        while running:
            finished, _ = wait(running, timeout=pause_s, return_when=FIRST_COMPLETED)
            if not finished:
                yield None
            for future in finished:
                order, attempt, before = running.pop(future)
                try:
                    yield order["id"], future.result()
                except TentpoleError:
                    raise
                except Exception as error:  # each executor has its own way to say that a worker is gone
                    if isinstance(error, OSError) and error.filename:  # the disk's word, not the executor's
                        raise
                    now = _checkpoints(order)
                    attempt = 0 if now != before else attempt
                    if attempt == ATTEMPTS:
                        raise TrainingError(
                            f"{order['jobs'][0]['out']}: {ATTEMPTS} workers in a row were lost while they trained it, "
                            f"the last by {type(error).__name__}: {error}. Mend the queue or its limits "
                            "([training_executor] walltime, memory_GB), then run the same again to go on."
                        ) from None
                    running[executor.submit(train_on_node, order)] = (order, attempt + 1, now)
    finally:
        for future in running:
            future.cancel()
