"""How a worker process starts: as a fresh interpreter, or forked from a process that has imported what it needs.

A fresh interpreter imports torch for seconds, and as many times as there are workers. The process here, the standard
library's fork server, imports once, in the background; what is forked from it begins at once and shares its memory.
Workers wait until it has imported; where the environment is no longer the one that it was started in they start fresh.
"""

from __future__ import annotations

import multiprocessing.context
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any

from tentpole.execution import worker

_IMPORTED = "TENTPOLE_IMPORTED"
"""The variable that tells the fork server under which name to bind a socket once it has imported."""
LONGEST_IMPORT_S = 60.0
"""What the fork server is given before workers start without it."""
_OF_LIBRARIES = ("KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK", "TORCHINDUCTOR_CACHE_DIR")
"""Variables that scikit-learn and torch set when they are imported."""
_lock = threading.RLock()
_environment: dict[str, str] | None = None  # that of the fork server; None: there is none
_name = ""  # of that socket; Linux forgets it with the processes, which no file would do
_imported = False
_bound: socket.socket | None = None  # in the fork server, and kept for as long as it is there


def import_ahead(module: str) -> None:
    """Have a process import `module` in the background, for workers to be forked from it.

    The module does its imports within `importing()`. Nothing happens where there is such a process, or off Linux, where
    libraries of the system do not survive a fork.
    """
    global _environment, _name
    with _lock:
        if _environment is not None or sys.platform != "linux":
            return
        _environment = environment()
        _name = f"tentpole-{os.getpid()}-{secrets.token_hex(8)}"
        forkserver.set_forkserver_preload([module])
        with _clean(), _variables({_IMPORTED: _name, **worker.thread_variables(1)}):
            forkserver.ensure_running()


@contextmanager
def importing() -> Iterator[None]:
    """For the module that the fork server imports: it ends with its driver, and says when all is imported."""
    driver, done = os.getppid(), threading.Event()

    def watch() -> None:
        while not done.wait(0.2):
            if os.getppid() != driver:
                os._exit(1)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()  # no thread is to be there when workers are forked
    if name := os.environ.pop(_IMPORTED, ""):
        global _bound
        _bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        _bound.bind(f"\0{name}")


def new_process(
    target: Callable[..., None],
    arguments: tuple[Any, ...],
    threads: int,
    unwanted: Callable[[], bool] = lambda: False,
) -> BaseProcess:
    """A started process that runs `target(*arguments)`, for programs of so many threads.

    Libraries that the fork server has loaded have one thread each: for more, the process is a fresh interpreter.
    Where the fork server still imports, its end is awaited, or until the process is `unwanted`: fresh interpreters
    would import the same things meanwhile, each by itself.
    """
    if threads == 1:
        _await_imports(unwanted)
    kind: type[BaseProcess] = _Forked if threads == 1 and _may_fork() else _Fresh
    process = kind(target=target, args=arguments)
    process.start()
    return process


def outdated(process: BaseProcess, threads: int) -> bool:
    """Whether `process` has started fresh and would be forked now: it has not imported what was imported ahead."""
    return isinstance(process, _Fresh) and threads == 1 and _may_fork()


def imports_ahead() -> bool:
    """Whether there is a process that imports, or has imported, and that a worker could be forked from."""
    with _lock:
        return _environment == environment()


def _await_imports(unwanted: Callable[[], bool]) -> None:
    until = time.monotonic() + LONGEST_IMPORT_S
    while imports_ahead() and not _has_imported() and time.monotonic() < until and not unwanted():
        time.sleep(0.02)


def _may_fork() -> bool:
    return imports_ahead() and _has_imported()


def _has_imported() -> bool:
    global _imported
    if not _imported:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking:
            _imported = asking.connect_ex(f"\0{_name}") == 0
    return _imported


def environment() -> dict[str, str]:
    """The variables that a worker starts with, of which its libraries read some while they are imported.

    Less those that libraries set themselves, in whatever process they are imported.
    """
    return {name: value for name, value in os.environ.items() if name not in _OF_LIBRARIES}


class _Fresh(multiprocessing.context.SpawnProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        with _clean():
            return multiprocessing.context.SpawnProcess._Popen(process_obj)  # type: ignore[attr-defined]


class _Forked(multiprocessing.context.ForkServerProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        with _clean():
            return multiprocessing.context.ForkServerProcess._Popen(process_obj)  # type: ignore[attr-defined]


@contextmanager
def _clean() -> Iterator[None]:
    """What starts meanwhile imports neither the driver's main script nor anything from the current folder.

    No guard is needed in that script. Ctrl-C, which is meant for the driver, does not reach it until it has left the
    driver's session.
    """
    with _lock, _no_main(), without_current_folder():
        resource_tracker.ensure_running()  # else it starts in here, and lets Ctrl-C through again
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _no_main() -> Iterator[None]:
    """While a worker starts, `__main__` has no file that multiprocessing would tell it to run."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def without_current_folder() -> Iterator[None]:
    """A Python that is started meanwhile imports nothing from the folder that this process happens to work in."""
    with _variables({worker.SAFE_PATH: os.environ.get(worker.SAFE_PATH) or "1"}):
        yield


@contextmanager
def _variables(values: dict[str, str]) -> Iterator[None]:
    """The environment with these in it, put back in the end."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
