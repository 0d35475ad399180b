"""A process that has imported mace once and forks a child for every training.

`python -m tentpole.training.server` reads one JSON object per line from its standard input:

    {"id": 3, "jobs": [{...}, ...], "settings": {...}, "energies": {...}, "finishing": false, "command": null}    train
    {"kill": 3}                               stop that training: it writes a checkpoint, if it can do so in a moment

and answers {"ready": true} once, then {"id": 3, "status": 0} when a child has ended: 0 when the member is
written, else its exit status (negative: the signal). When its input ends, it kills what still runs and leaves:
no training outlives the program that asked for it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import selectors
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from tentpole.training.jobs import TrainingJob

PATIENCE_S = 1.2
"""What a training that is to stop is given for its checkpoint."""


def serve() -> None:
    """Answer jobs until the input ends, or the process that asked for this one: by its id, the command's argument."""
    parent = int(sys.argv[1]) if sys.argv[1:] else os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()  # imports take seconds
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what mace prints while it is imported is no answer
    from tentpole.committee.mace_architecture import mace
    from tentpole.training import stacked as _loop
    from tentpole.training.convolution import load_kernels

    del _loop
    mace("modules")
    load_kernels()
    print(json.dumps({"ready": True}), file=answers)
    running: dict[int, int] = {}
    selector = selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ)
    buffer = b""
    try:
        while True:
            if selector.select(timeout=0.05):
                chunk = os.read(0, 65536)
                if not chunk:
                    return
                *lines, buffer = (buffer + chunk).split(b"\n")
                for line in lines:
                    _obey(json.loads(line), running)
            for pid in list(running):
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    code = os.waitstatus_to_exitcode(status)
                    print(json.dumps({"id": running.pop(pid), "status": code}), file=answers)
    finally:
        for pid in running:
            os.kill(pid, signal.SIGKILL)


def _end_with(parent: int) -> None:
    """End this process, and with it those that it has forked, once the one that started it is no more."""
    while os.getppid() == parent:
        time.sleep(0.2)
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
    if order["command"] is None:
        train_stacked(jobs, settings, energies, finishing=order["finishing"])
    else:
        run_here(jobs[0], settings, energies, order["command"])


def _job(fields: dict[str, Any]) -> TrainingJob:
    paths = ("train", "valid", "folder", "out", "warm_start")
    typed: dict[str, Any] = {k: Path(v) if k in paths and v is not None else v for k, v in fields.items()}
    return TrainingJob(**typed)


def _die_with_parent() -> None:
    """Ask Linux to end this process when the server is killed; elsewhere it ends by itself when it is done."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1 is PR_SET_PDEATHSIG


if __name__ == "__main__":
    serve()
