"""What a worker process is: its threads, its own session, and the limits it keeps by itself.

No NumPy here: the number of threads is set before it is imported.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn

import psutil

from tentpole.errors import InputError

BEAT_S = 5.0
SAFE_PATH = "PYTHONSAFEPATH"
"""The variable that keeps Python from importing what lies in the current folder."""
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_started = False  # whether this process is a worker of a driver on this machine


def python_module(name: str) -> list[str]:
    """The command that runs a module of ours in a process of its own.

    What lies in the current folder is not imported, as it would be without -P: a file named ase.py there may be
    anybody's.
    """
    return [sys.executable, "-P", "-W", "ignore", "-m", name]


def serve(connection: Connection, threads: int, keep_safe_path: bool) -> None:
    """What a worker process does: say that it is ready, then compute what it is sent until nobody sends any more."""
    start(threads, keep_safe_path)
    with suppress(EOFError, ConnectionError):  # the driver has closed it, or is no more
        connection.send("ready")
        while True:
            payload = connection.recv_bytes()
            connection.send("begun")  # if this process dies from here on, it may be the task's doing
            connection.send_bytes(_answer(payload))


def _answer(payload: bytes) -> bytes:
    """The pickled pair (True, result) or (False, error) of a pickled (function, arguments, keywords)."""
    try:
        function, arguments, keywords = pickle.loads(payload)
        return pickle.dumps((True, function(*arguments, **keywords)))
    except BaseException as error:
        if not isinstance(error, Exception):  # sys.exit() in somebody's code ends neither worker nor driver
            error = RuntimeError(f"{type(error).__name__}: {error}")
        error.add_note(traceback.format_exc())
        return _pickled(error)


def _pickled(error: Exception) -> bytes:
    try:
        data = pickle.dumps((False, error))
        pickle.loads(data)  # one that takes other arguments than it keeps is found out here, not in the driver
        return data
    except Exception:
        return pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")))


def start(threads: int, keep_safe_path: bool = True) -> None:
    """Make this process a worker: `threads` per program, and a session of its own with all it starts.

    Programs that a label runs belong to the session, so that one signal ends them with their worker.
    """
    global _started
    os.environ.update(thread_variables(threads))
    if not keep_safe_path:  # it was for this interpreter's own start, not for the programs that it runs
        os.environ.pop(SAFE_PATH, None)
    warnings.filterwarnings("ignore", category=FutureWarning, module="ase")  # to its developers, not to users
    _started = True
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # blocked while this process started
    signal.signal(signal.SIGTERM, lambda *_: end_session())


def thread_variables(threads: int) -> dict[str, str]:
    """The environment for so many threads per program."""
    return dict.fromkeys(_THREADS, str(threads))


def _driver_lives() -> bool:
    driver = parent_process()
    return driver is None or driver.is_alive()


def end_session() -> NoReturn:
    """Kill this worker and everything it started, at once. Labels are whole files or none."""
    kill_all(os.getpid(), itself=False)
    if os.getsid(0) == os.getpid():
        os.killpg(os.getpgid(0), signal.SIGKILL)
    os._exit(70)


def kill_all(pid: int, itself: bool = True) -> None:
    """Kill all that process `pid` has started, also what made a session of its own as MPI launchers do, and `pid`."""
    for process in _with_descendants(pid):
        if itself or process.pid != pid:
            with suppress(psutil.Error):
                process.kill()


def end_workers() -> None:
    """Kill all that this process has started, at once: it ends."""
    with suppress(psutil.Error):
        kill_all(os.getpid(), itself=False)


@contextmanager
def watched(
    folder: Path, time_limit_s: float | None, memory_limit_GB: float | None, beat: bool = False
) -> Iterator[None]:
    """End this worker, with the reason in folder/killed, when a label outgrows its limits or its driver dies.

    Memory is the resident set of this process and all below it. The check comes a few times a second. With
    `beat`, folder/alive is written every few seconds: other hosts can tell that this worker lives, and whoever finds
    the folder how many core-seconds it had used.

    Raises InputError where there is a limit and this is a thread of a pool: ending it would end the whole program.
    """
    if (time_limit_s or memory_limit_GB) and threading.current_thread() is not threading.main_thread():
        raise InputError(
            "executor: labels have a limit of time or memory here, which a pool of threads, such as Parsl's "
            "ThreadPoolExecutor, cannot keep: leave label_time_limit_s and label_memory_limit_GB out, or take an "
            "executor whose workers are processes (Parsl: HighThroughputExecutor)."
        )
    began = time.monotonic()
    done = threading.Event()
    limit = min(60.0, time_limit_s or 60.0)
    period = min(0.5, max(0.02, limit / 10))
    deadline = time.monotonic() + time_limit_s if time_limit_s else float("inf")

    def watch() -> None:
        beaten = 0.0
        while not done.wait(period):
            if beat and time.monotonic() - beaten > BEAT_S:
                _tell(folder, began)
                beaten = time.monotonic()
            if _started and not _driver_lives():
                end_session()
            if time.monotonic() > deadline:
                _tell(folder, began)
                _give_up(folder, "timeout", f"not finished after {time_limit_s:g} s.")
            if memory_limit_GB and (used := resident_GB()) > memory_limit_GB:
                _tell(folder, began)
                _give_up(folder, "memory", f"{used:.2f} GB in use, the limit is {memory_limit_GB:g} GB.")

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def cores() -> int:
    """The cores that a program in this worker is given."""
    return int(os.environ.get(_THREADS[0]) or 1)


def core_seconds(began: float, cpu_before: float) -> float:
    """Core-seconds since `began` (monotonic), of the cores given.

    The CPU time of this process and its ended programs where that is more, as it is for a program that a launcher
    starts on several cores.
    """
    return round(max(cores() * (time.monotonic() - began), cpu_seconds() - cpu_before), 6)


def cpu_seconds() -> float:
    """CPU time so far of this process and of the programs it has run to their end."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def _tell(folder: Path, began: float) -> None:
    with suppress(OSError):  # a full disk is for the label to tell of
        (folder / "alive").write_text(f"{cores() * (time.monotonic() - began):.3f}", encoding="utf-8")


def _give_up(folder: Path, reason: str, message: str) -> None:
    (folder / "killed").write_text(f"{reason}\n{message}", encoding="utf-8")
    end_session()


def resident_GB() -> float:
    """Resident memory of this process and all below it."""
    total = 0
    for process in _with_descendants(os.getpid()):
        with suppress(psutil.Error):  # it ended meanwhile
            total += process.memory_info().rss
    return total / 1e9


def _with_descendants(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [*process.children(recursive=True), process]
    except psutil.Error:
        return []
