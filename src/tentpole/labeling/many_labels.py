"""Many labels over any executor: each outcome as it comes, failures tried again, dead workers survived.

What the machine does to a label is told from what the structure does to it. A worker that is lost before it began a
label, a queue that takes no jobs and a program that cannot be started cost no attempt. Where all labels crash alike
and none succeeds, the machine is at fault too, and nothing goes to quarantine for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace

from tentpole.errors import InputError, LabelError, MachineError, StateError
from tentpole.execution.ownership import clear_stale, used
from tentpole.labeling.one_label import compute
from tentpole.labeling.single_point import NOT_STARTED
from tentpole.labeling.tasks import AGAIN, CRASHES, Outcome, Task
from tentpole.labeling.work_folders import fail

LOST = 5
"""How often in a row a label may be lost before it began, while no other succeeds."""
IN_A_ROW = 6
"""Equal crashes in a row, no label before or between, that stop the labelling."""
_UNBEGUN = "unbegun"


def label_all(
    tasks: Iterable[Task],
    executor: Executor,
    *,
    attempts: int = 2,
    in_a_row: int = IN_A_ROW,
    submitted: Callable[[], None] = lambda: None,
    enough: Callable[[], bool] = lambda: False,
) -> Iterator[Outcome]:
    """Compute `tasks`, yielding each one's final outcome as it is known, in whatever order they finish.

    A label that is on disk already is not computed again, nor one that is asked for twice. Stopping the iteration
    cancels what has not finished; what has is on disk.

    Parameters
    ----------
    attempts
        A crash, a worker that dies at the label, or an exceeded limit costs one; after the last, the structure is in
        quarantine.
    in_a_row
        So many equal crashes of at least three structures, before any label has succeeded, raise MachineError and
        leave nothing in quarantine. 0: never.
    submitted
        Called once, when all tasks are in the executor's hands and before the first outcome is awaited.
    enough
        Asked after each outcome; once it is true, what has not begun is taken back, without an outcome, and what runs
        is finished (where the executor can tell: Parsl cannot, there it ends with the executor).

    Raises
    ------
    InputError
        Before anything is spent, where a task can never run.
    StateError
        Where the folder cannot be written.
    MachineError
        Where labels fail for no reason of their own: mend the machine, then call it again.
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
    crashes = _Crashes(min(in_a_row, attempts * len(unique)) if len(unique) >= _STRUCTURES else 0)
    return _run(unique, _Submitted(executor, attempts), crashes, submitted, enough)


def _run(
    unique: dict[str, Task],
    running: _Submitted,
    crashes: _Crashes,
    submitted: Callable[[], None],
    enough: Callable[[], bool],
) -> Iterator[Outcome]:
    try:
        for task in unique.values():
            running.submit(task)
        submitted()
        while running.futures:
            for task, outcome in running.finished():
                if outcome.ok and outcome.computed:
                    running.lost.clear()
                final = outcome.ok or outcome.reason not in AGAIN or outcome.attempts >= running.attempts
                crashes.add(task, outcome, final)
                if not final:
                    running.submit(task, outcome.attempts + 1, outcome.core_seconds, held_back=bool(crashes.limit))
                yield from crashes.decided()
            if running.futures and enough():
                running.take_back()
        yield from crashes.decided(all_of_them=True)
    finally:
        running.cancel()


class _Submitted:
    """The tasks that an executor has: each with its attempt, and the core-seconds of those before it."""

    def __init__(self, executor: Executor, attempts: int) -> None:
        self.attempts = attempts
        self.futures: dict[Future[Outcome], tuple[Task, int, float]] = {}
        self.lost: Counter[str] = Counter()
        self._executor = executor

    def submit(self, task: Task, attempt: int = 1, before: float = 0.0, held_back: bool = True) -> None:
        task = replace(task, last=attempt >= self.attempts and not held_back)
        try:
            self.futures[self._executor.submit(compute, task)] = (task, attempt, before)
        except RuntimeError as error:  # a broken pool
            raise MachineError(f"{task.root}: no label can be computed: {type(error).__name__}: {error}") from None

    def finished(self) -> Iterator[tuple[Task, Outcome]]:
        """Wait for what ends next. What was lost before it began is submitted again."""
        done, _ = wait(self.futures, return_when=FIRST_COMPLETED)
        for future in done:
            task, attempt, before = self.futures.pop(future)
            outcome = _outcome(future, task)
            outcome = replace(outcome, attempts=attempt, core_seconds=before + outcome.core_seconds)
            if outcome.reason in (_UNBEGUN, NOT_STARTED):
                self._count_lost(task, outcome)
                self.submit(task, attempt, outcome.core_seconds, held_back=not task.last)
            else:
                yield task, outcome

    def _count_lost(self, task: Task, outcome: Outcome) -> None:
        self.lost[task.name] += 1
        if self.lost[task.name] >= LOST:
            raise MachineError(
                f"{task.root}: a label could not be begun {LOST} times in a row, and none was computed meanwhile: "
                f"{outcome.message[:500]} That is the machine's fault, not the structures': none of them is in "
                "quarantine for it. Mend it (modules, paths, the queue, memory); then the same command goes on."
            )

    def take_back(self) -> None:
        """Cancel what has not begun."""
        for future in [future for future in self.futures if not (future.running() or future.done())]:
            del self.futures[future]
            _cancel(future)

    def cancel(self) -> None:
        for future in self.futures:
            _cancel(future)


_STRUCTURES = 3  # fewer that crash may be bad ones


@dataclass
class _Crashes:
    """Equal crashes in a row before any success: one cause they have in common is the machine.

    Outcomes are held back for as long as that may turn out. `limit` 0: it never does.
    """

    limit: int
    reason: str = ""
    messages: list[str] = field(default_factory=list)
    structures: set[str] = field(default_factory=set)
    held: list[tuple[Task, Outcome]] = field(default_factory=list)

    def add(self, task: Task, outcome: Outcome, final: bool) -> None:
        """Take note of one attempt's outcome. Raises MachineError where it is one crash too many."""
        if final:
            self.held.append((task, outcome))
        if not self.limit or (outcome.ok and not outcome.computed):
            return
        if outcome.reason not in CRASHES:
            self.limit = 0  # a program ran to its end here
            return
        if outcome.reason != self.reason:
            self.reason, self.messages, self.structures = outcome.reason, [], set()
        self.messages.append(outcome.message)
        self.structures.add(task.name)
        if len(self.messages) >= self.limit and len(self.structures) >= _STRUCTURES:
            raise MachineError(
                f"{task.root}: {len(self.messages)} attempts in a row at {len(self.structures)} structures ended the "
                f'same way ("{self.reason}"), and none succeeded. The first: {self.messages[0][:500]} The last: '
                f"{self.messages[-1][:500]} All alike, that is the machine's fault or the reference's rather than the "
                "structures': none of them is in quarantine for it. Mend what the message says (modules, licence, "
                "disk, memory); then the same command goes on. Are they bad structures after all? Then [executor] "
                "crashes_in_a_row = 0 takes them for that."
            )

    def decided(self, all_of_them: bool = False) -> Iterator[Outcome]:
        """The outcomes that stand, failures put into quarantine."""
        if self.limit and not all_of_them and any(not outcome.ok for _, outcome in self.held):
            return
        held, self.held = self.held, []
        for task, outcome in held:
            if outcome.reason in AGAIN and not task.last:  # any other failure is in quarantine already
                fail(replace(task, last=True), outcome.reason, outcome.message)
            yield outcome


def _cancel(future: Future[Outcome]) -> None:
    with suppress(NotImplementedError):  # Parsl: its jobs end when the executor is shut down
        future.cancel()


def _outcome(future: Future[Outcome], task: Task) -> Outcome:
    """What the worker says of the label, or what is known of a worker that is gone."""
    try:
        return future.result()
    except (InputError, StateError):
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {' '.join(str(error).split())}"
        reason, message = _left_behind(task)
        if not reason and isinstance(error, TimeoutError):
            reason, message = "timeout", f"ended by the executor at its time limit ({error.args[-1]} s)."
        elif not reason and not _of_executor(error):
            reason, message = "crashed", f"the labelling itself failed ({said})."
        elif not reason and not any((task.root / "work").glob(f"tmp-{task.name}-*")):
            return Outcome(task.name, False, _UNBEGUN, said)
        elif not reason:
            reason, message = "died", f"the worker died ({said})."
        spent = sum(map(used, (task.root / "work").glob(f"tmp-{task.name}-*")))
        fail(task, reason, message)
        return Outcome(task.name, False, reason, message, core_seconds=spent)


def _of_executor(error: Exception) -> bool:
    """Whether the executor says it, and not what it was to compute."""
    return isinstance(error, (BrokenExecutor, CancelledError)) or type(error).__module__.startswith("parsl.")


def _left_behind(task: Task) -> tuple[str, str]:
    """Reason and message in the file of a worker that ended itself at a limit; empty where there is none."""
    for path in (task.root / "work").glob(f"tmp-{task.name}-*/killed"):
        reason, _, message = path.read_text(encoding="utf-8").partition("\n")
        return reason, message
    return "", ""
