"""Worker processes on this machine, as a concurrent.futures.Executor that outlives its workers' deaths."""

from __future__ import annotations

import multiprocessing.context
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from types import ModuleType, TracebackType
from typing import Any, ParamSpec, TypeVar

from pebble import ProcessPool

from tentpole.errors import InputError
from tentpole.execution import worker

P = ParamSpec("P")
T = TypeVar("T")


def local(workers: int | None = None, *, time_limit_s: float | None = None, threads: int = 1) -> LocalExecutor:
    """`workers` processes (default: one per core), `threads` per program, each task ended at the limit."""
    return LocalExecutor(workers or os.cpu_count() or 1, time_limit_s, threads)


class LocalExecutor(Executor):
    """A pebble pool. A task that outlives the limit, or whose worker dies, fails alone; workers are replaced.

    Workers start at the first task, fresh (no fork of this process with its threads), without running the
    user's main script again, and end with this process.
    """

    def __init__(self, workers: int, time_limit_s: float | None, threads: int) -> None:
        if workers < 1 or threads < 1:
            raise InputError(f"workers = {workers}, threads = {threads}: both are 1 or more.")
        if time_limit_s is not None and not time_limit_s > 0:
            raise InputError(f"time_limit_s = {time_limit_s}: a positive number of seconds, or leave it out.")
        self.workers = workers
        self._time_limit_s = time_limit_s
        self._threads = threads
        self._lock = threading.Lock()
        self._pool = self._new_pool()

    def _new_pool(self) -> ProcessPool:
        return ProcessPool(
            max_workers=self.workers,
            initializer=worker.start,
            initargs=(self._threads,),
            context=_CleanSpawn(),
        )

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        with self._lock:
            try:
                return self._schedule(fn, args, kwargs)
            except RuntimeError:  # an idle worker was killed from outside, which breaks the whole pool
                self._pool.stop()
                self._pool = self._new_pool()
                return self._schedule(fn, args, kwargs)

    def _schedule(self, fn: Callable[..., T], args: Any, kwargs: Any) -> Future[T]:
        future: Future[T] = self._pool.schedule(fn, args=args, kwargs=kwargs, timeout=self._time_limit_s)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        if cancel_futures:
            self._pool.stop()
        else:
            self._pool.close()
        if wait:
            self._pool.join()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown(cancel_futures=kind is not None)


class _CleanSpawn(multiprocessing.context.SpawnContext):
    """New interpreters that do not import the driver's main script: no guard needed in it, and no torch."""

    class Process(multiprocessing.context.SpawnProcess):
        @staticmethod
        def _Popen(process_obj: Any) -> Any:
            with _no_main(), _no_interrupt():
                return multiprocessing.context.SpawnProcess._Popen(process_obj)  # type: ignore[attr-defined]


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """A worker that starts now does not hear Ctrl-C, which is meant for the driver, until it has left its session."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_hiding = threading.Lock()


@contextmanager
def _no_main() -> Iterator[None]:
    """While a worker starts, `__main__` has no file that multiprocessing would tell it to run."""
    with _hiding:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main
