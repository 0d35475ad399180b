"""Many labels over any executor: each outcome as it comes, failures tried again, dead workers survived."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import suppress
from dataclasses import replace

from tentpole.errors import InputError, LabelError, StateError
from tentpole.execution.ownership import clear_stale, used
from tentpole.labeling.one_label import compute
from tentpole.labeling.tasks import Outcome, Task
from tentpole.labeling.work_folders import fail

AGAIN = (
    "crashed",
    "truncated",
    "died",
    "timeout",
    "memory",
)  # what may be the machine's fault, not the label's


def label_all(
    tasks: Iterable[Task],
    executor: Executor,
    *,
    attempts: int = 2,
    submitted: Callable[[], None] = lambda: None,
    enough: Callable[[], bool] = lambda: False,
) -> Iterator[Outcome]:
    """Compute `tasks`, yielding each one's final outcome as it is known, in whatever order they finish.

    A label that is on disk already is not computed again, nor one that is asked for twice. A crash, a dead
    worker or an exceeded limit costs one of `attempts`; after the last, the structure is in quarantine.
    Stopping the iteration cancels what has not finished; what has is on disk.

    submitted : called once, when all tasks are in the executor's hands and before the first outcome is awaited.
    enough : asked after each outcome; once it is true, what has not begun is taken back, without an outcome, and what
        runs is finished (where the executor can tell: Parsl cannot, there it ends with the executor).

    Raises InputError before anything is spent where a task can never run, StateError where the folder cannot
    be written.
    """
    if attempts < 1:
        raise InputError(f"attempts = {attempts}: 1 or more.")
    unique = {task.name: task for task in tasks}
    for task in unique.values():
        try:
            task.reference.setup(task.atoms, task.charge, task.multiplicity, task.root)
        except LabelError:
            continue  # the label's own failure: the worker will say so
    for root in {task.root for task in unique.values()}:
        clear_stale(root)
    return _run(unique, executor, attempts, submitted, enough)


def _run(
    unique: dict[str, Task],
    executor: Executor,
    attempts: int,
    submitted: Callable[[], None],
    enough: Callable[[], bool],
) -> Iterator[Outcome]:
    running: dict[Future[Outcome], tuple[Task, int, float]] = {}

    def submit(task: Task, attempt: int, before: float = 0.0) -> None:
        attempted = replace(task, last=attempt == attempts)
        running[executor.submit(compute, attempted)] = (attempted, attempt, before)

    try:
        for task in unique.values():
            submit(task, 1)
        submitted()
        while running:
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                task, attempt, before = running.pop(future)
                outcome = _outcome(future, task)
                outcome = replace(outcome, attempts=attempt, core_seconds=before + outcome.core_seconds)
                if not outcome.ok and outcome.reason in AGAIN and attempt < attempts:
                    submit(task, attempt + 1, outcome.core_seconds)
                    continue
                if not outcome.ok and not task.last and outcome.reason != "other_physics":
                    fail(replace(task, last=True), outcome.reason, outcome.message)
                yield outcome
            if running and enough():
                for future in [future for future in running if not (future.running() or future.done())]:
                    del running[future]
                    _take_back(future)
    finally:
        for future in running:
            _take_back(future)


def _take_back(future: Future[Outcome]) -> None:
    with suppress(NotImplementedError):  # Parsl: its jobs end when the executor is shut down
        future.cancel()


def _outcome(future: Future[Outcome], task: Task) -> Outcome:
    """The worker's word, or what can be told of a worker that gave none."""
    try:
        return future.result()
    except (InputError, StateError):
        raise
    except Exception as error:  # each executor has its own way to say that a worker is gone
        reason, message = _last_words(task)
        if not reason and isinstance(error, TimeoutError):
            reason, message = "timeout", f"ended by the executor at its time limit ({error.args[-1]} s)."
        if not reason:
            reason, message = "died", f"the worker died ({type(error).__name__}: {error})."
        spent = sum(map(used, (task.root / "work").glob(f"tmp-{task.name}-*")))
        fail(task, reason, message)
        return Outcome(task.name, False, reason, message, core_seconds=spent)


def _last_words(task: Task) -> tuple[str, str]:
    """Why a worker ended itself, from the file it leaves then."""
    for path in (task.root / "work").glob(f"tmp-{task.name}-*/killed"):
        reason, _, message = path.read_text().partition("\n")
        return reason, message
    return "", ""
