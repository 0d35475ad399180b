"""A process that has imported mace once, or was forked from one that has, and forks a child for every training.

It takes orders from its connection:

    {"id": 3, "jobs": [{...}, ...], "settings": {...}, "energies": {...}, "finishing": false, "command": None}    train
    {"kill": 3}                               stop that training: it writes a checkpoint, if it can do so in a moment

and answers {"begun": 3} once it trains, and {"id": 3, "status": 0} when a child has ended: 0 when the member is
written, else its exit status (negative: the signal). When the connection is closed, it kills what still runs and
leaves: no training outlives the program that asked for it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
import traceback
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tentpole.execution.worker import thread_variables
from tentpole.training.jobs import TrainingJob
from tentpole.training.settings import SIZES

PATIENCE_S = 1.2
"""What a training that is to stop is given for its checkpoint."""


def serve(orders: Connection) -> None:
    """Answer orders until their connection is closed, or the program that started this process is no more."""
    os.environ.update(thread_variables(1))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # blocked while this process started
    threading.Thread(target=_end_with_parent, daemon=True).start()  # imports take seconds
    with Path(os.devnull).open("w") as nowhere:  # what mace prints while it is imported
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    imported()
    running: dict[int, int] = {}
    try:
        while True:
            if orders.poll(0.05):
                order = orders.recv()
                _obey(order, running)
                if "kill" not in order:
                    orders.send({"begun": order["id"]})
            for pid in list(running):
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    orders.send({"id": running.pop(pid), "status": os.waitstatus_to_exitcode(status)})
    except (EOFError, ConnectionError):
        return
    finally:
        for pid in running:
            os.kill(pid, signal.SIGKILL)


def imported() -> None:
    """Import what trainings need, with the machine code of the kernels."""
    from tentpole.committee.mace_architecture import prepare_models
    from tentpole.training import stacked as _loop
    from tentpole.training.convolution import load_kernels
    from tentpole.training.pair_features import polynomials

    del _loop
    prepare_models()
    load_kernels()
    polynomials(SIZES["small"].max_ell, True, "component")  # of mace's models


def _end_with_parent() -> None:
    """End this process, and with it those that it has forked, once the one that started it is no more."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _obey(order: dict[str, Any], running: dict[int, int]) -> None:
    if "kill" in order:
        for pid, job in running.items():
            if job == order["kill"]:
                os.kill(pid, signal.SIGTERM)
                threading.Timer(PATIENCE_S, _kill, (pid, running)).start()
        return
    if order["command"] is not None:
        from tentpole.training.mace import training_command

        training_command()  # once, not in every child
    pid = os.fork()
    if pid == 0:
        _child(order)
    running[pid] = order["id"]


def _kill(pid: int, running: dict[int, int]) -> None:
    if pid in running:  # not waited for yet: no other process can have its number
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def _child(order: dict[str, Any]) -> None:
    """Do what `order` asks in this fresh process and end it."""
    status = 1
    try:
        _die_with_parent()
        _train(order)
        status = 0
    except SystemExit as error:  # mace's argument parser, which has said why
        status = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):  # a full disk: this child must end all the same, here
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _train(order: dict[str, Any]) -> None:
    from tentpole.training.linear import train_and_solve
    from tentpole.training.mace import run_here
    from tentpole.training.settings import MACESettings
    from tentpole.training.stacked import train_stacked

    jobs, settings = [_job(fields) for fields in order["jobs"]], MACESettings(**order["settings"])
    energies = {int(z): e for z, e in order["energies"].items()}
    for job in jobs:
        job.folder.mkdir(parents=True, exist_ok=True)
        job.log.write_text("", encoding="utf-8")
        job.progress.unlink(missing_ok=True)
    log = os.open(jobs[0].log, os.O_WRONLY | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if settings.solve != "no":
        train_and_solve(jobs, settings, energies, finishing=order["finishing"])
    elif order["command"] is None:
        train_stacked(jobs, settings, energies, finishing=order["finishing"])
    else:
        run_here(jobs[0], settings, energies, order["command"])


def _job(fields: dict[str, Any]) -> TrainingJob:
    paths = ("train", "valid", "folder", "out", "warm_start", "replay")
    typed: dict[str, Any] = {k: Path(v) if k in paths and v is not None else v for k, v in fields.items()}
    return TrainingJob(**typed)


def _die_with_parent() -> None:
    """Ask Linux to end this process when the server is killed; elsewhere it ends by itself when it is done."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1 is PR_SET_PDEATHSIG
