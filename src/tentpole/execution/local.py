"""Worker processes on this machine, as a concurrent.futures.Executor that outlives its workers' deaths.

One thread per worker hands it one task at a time, so that it is always known which task a dead process had: an idle
or a starting worker that dies costs no task anything. Pools whose workers share one queue (concurrent.futures,
pebble) fail every waiting task then.
"""

from __future__ import annotations

import atexit
import multiprocessing.context
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from types import TracebackType
from typing import Any, Generic, ParamSpec, TypeVar
from weakref import WeakSet

from tentpole.errors import InputError, MachineError
from tentpole.execution import worker
from tentpole.execution.starting import new_process, outdated

P = ParamSpec("P")
T = TypeVar("T")
_SPAWN = multiprocessing.context.SpawnContext()
STARTS = 5
"""Workers that may be lost in a row before they begin a task, before no more are started for it."""
POLL_S = 0.2
PATIENCE_S = 3.0
"""What a worker is given to end by itself before it is killed."""


def local(workers: int | None = None, *, time_limit_s: float | None = None, threads: int = 1) -> LocalExecutor:
    """`workers` processes (default: one per core), `threads` per program, each task ended at the limit."""
    return LocalExecutor(workers or os.cpu_count() or 1, time_limit_s, threads)


class WorkerLost(BrokenExecutor):
    """The process that ran a task ended without a result: killed, out of memory, or crashed."""


class _Call(Future[T]):
    """The result to come; unlike a Future of the standard library it can be cancelled while it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.unwanted = False

    def cancel(self) -> bool:
        self.unwanted = True  # whoever waits for its worker ends that
        return super().cancel() or not self.done()


@dataclass
class _Job(Generic[T]):
    payload: bytes
    attempts: int
    future: _Call[T] = field(default_factory=_Call)


class LocalExecutor(Executor):
    """At most `workers` processes, started when there is work for them, and again when they are lost.

    A task that outlives the limit, or whose worker dies while it runs, fails alone. Workers are no forks of this
    process with its threads; they start without running the user's main script again, and end with this process.
    """

    def __init__(self, workers: int, time_limit_s: float | None, threads: int) -> None:
        if workers < 1 or threads < 1:
            raise InputError(f"workers = {workers}, threads = {threads}: both are 1 or more.")
        if time_limit_s is not None and not time_limit_s > 0:
            raise InputError(f"time_limit_s = {time_limit_s}: a positive number of seconds, or leave it out.")
        self.workers = workers
        self._time_limit_s = time_limit_s
        self._threads = threads
        self._jobs: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._slots: list[threading.Thread] = []
        self._processes: set[BaseProcess] = set()
        self._excess = 0  # unfinished jobs, less threads
        self._closed = self._ended = False
        _executors.add(self)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run `fn(*args, **kwargs)` in a worker.

        The future raises WorkerLost where that died, TimeoutError at the time limit, and MachineError where no worker
        can be started.
        """
        return self._submit(1, fn, args, kwargs)

    def submit_lasting(self, attempts: int, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """As `submit`, and begun again where its worker dies, `attempts` times in all."""
        return self._submit(attempts, fn, args, kwargs)

    def _submit(self, attempts: int, fn: Callable[..., T], args: Any, kwargs: Any) -> Future[T]:
        job: _Job[T] = _Job(bytes(ForkingPickler.dumps((fn, args, kwargs))), attempts)
        with self._lock:
            if self._closed:
                raise RuntimeError("this executor has been shut down")
            self._jobs.put(job)
            self._excess += 1
            if self._excess > 0 and len(self._slots) < self.workers:
                self._excess -= 1
                self._slots.append(threading.Thread(target=self._serve, daemon=True))
                self._slots[-1].start()
        return job.future

    def _serve(self) -> None:
        """What each thread does: take jobs, one at a time, and have its own process do them."""
        with _Process(self) as process:
            while (job := self._jobs.get()) is not None:
                if job.future.set_running_or_notify_cancel():
                    try:
                        job.future.set_result(self._result(process, job))
                    except BaseException as error:
                        job.future.set_exception(error)
                del job
                with self._lock:
                    self._excess -= 1

    def _result(self, process: _Process, job: _Job[T]) -> T:
        while True:
            job.attempts -= 1
            try:
                return process.run(job, self._time_limit_s)  # type: ignore[no-any-return]
            except WorkerLost:
                if job.attempts < 1:
                    raise

    def new_process(self, connection: Connection) -> BaseProcess:
        """A started worker at the other end of `connection`."""
        if self._ended:
            raise CancelledError
        arguments = (connection, self._threads, bool(sys.flags.safe_path))
        process = new_process(worker.serve, arguments, self._threads, lambda: self._ended)
        self._processes.add(process)
        return process

    def would_fork(self, process: BaseProcess) -> bool:
        """Whether a worker started now, unlike this one, would have imported what its tasks need."""
        return outdated(process, self._threads)

    def forget(self, process: BaseProcess) -> None:
        """A process that has ended."""
        self._processes.discard(process)

    @property
    def ended(self) -> bool:
        """Whether what still runs is to be ended."""
        return self._ended

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks; with `cancel_futures` end at once, in the middle of them."""
        with self._lock:
            self._ended |= cancel_futures
            if not self._closed:
                self._closed = True
                for _ in self._slots:
                    self._jobs.put(None)
        if cancel_futures:
            with suppress(queue.Empty):
                while True:
                    job = self._jobs.get_nowait()
                    if job is None:
                        self._jobs.put(None)
                        break
                    job.future.cancel()
                    job.future.set_running_or_notify_cancel()
        for thread in self._slots if wait else ():
            thread.join()

    def kill(self) -> None:
        """End all workers now: this process ends."""
        self._ended = self._closed = True
        for process in tuple(self._processes):
            _end(process, patience_s=1.0)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown(cancel_futures=kind is not None)


class _Process:
    """A thread's worker process, started when it is needed and there is none."""

    def __init__(self, executor: LocalExecutor) -> None:
        self._executor = executor
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None
        self._ended = ""

    def run(self, job: _Job[Any], time_limit_s: float | None) -> Any:
        """The job's result. Raises what it raised, WorkerLost, TimeoutError, CancelledError or MachineError."""
        for _ in range(STARTS):
            if self._begun(job):
                good, result = self._answer(job, time_limit_s)
                if good:
                    return result
                raise result
        raise MachineError(
            f"no worker can be started here: {STARTS} in a row were lost before they began, the last one "
            f"{self._ended}. Is there memory enough for them, and is no module of Python's own hidden by a file on "
            "PYTHONPATH? Nothing is lost: the same command goes on."
        )

    def _begun(self, job: _Job[Any]) -> bool:
        """Start a process where there is none, and hand it the job. False where it was lost before it took that."""
        if self._process is not None and self._executor.would_fork(self._process):
            self.end()
        try:
            if self._process is None:
                self._connection, other = _SPAWN.Pipe()
                with other:
                    self._process = self._executor.new_process(other)
                self._next(job)
            assert self._connection is not None
            self._connection.send_bytes(job.payload)
            self._next(job)
        except (OSError, EOFError):
            self._ended = self._how_it_ended()
            return False
        return True

    def _answer(self, job: _Job[Any], time_limit_s: float | None) -> Any:
        """What the process answers to the job that it has begun."""
        deadline = time.monotonic() + time_limit_s if time_limit_s else float("inf")
        try:
            answer = self._next(job, deadline)
        except (OSError, EOFError):
            raise WorkerLost(f"the worker process {self._how_it_ended()}") from None
        if answer is None:
            self.end()
            raise TimeoutError("Task timeout", time_limit_s)
        return answer

    def _next(self, job: _Job[Any], deadline: float = float("inf")) -> Any:
        """What the process says next; None where the deadline passes first."""
        assert self._connection is not None
        while not wait([self._connection], max(0.0, min(POLL_S, deadline - time.monotonic()))):
            if job.future.unwanted or self._executor.ended:
                self.end()
                raise CancelledError
            if time.monotonic() >= deadline:
                return None
        return self._connection.recv()

    def _how_it_ended(self) -> str:
        assert self._process is not None
        self._process.join(PATIENCE_S)
        code = self._process.exitcode
        self.end()
        if code is None:
            return "closed its connection and was killed"
        if code < 0:
            return f"was killed by signal {-code} ({signal.Signals(-code).name})"
        return f"ended with status {code}"

    def end(self) -> None:
        """End the process and all it started."""
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            _end(self._process, PATIENCE_S)
            self._executor.forget(self._process)
        self._process = self._connection = None

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def _end(process: BaseProcess, patience_s: float) -> None:
    with suppress(ValueError, OSError):  # it is closed, or has ended
        process.terminate()  # a worker ends what it has started, then itself
        process.join(patience_s)
        if process.is_alive() and process.pid is not None:
            worker.kill_all(process.pid)
            process.join()


_executors: WeakSet[LocalExecutor] = WeakSet()


@atexit.register
def _end_all() -> None:
    """Before multiprocessing waits for its processes: these wait for tasks that will never come."""
    for executor in tuple(_executors):
        executor.kill()
