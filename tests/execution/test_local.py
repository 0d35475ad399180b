"""Workers on this machine are killed at every stage of their lives, and only what ran in them notices."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import CancelledError, Future
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from support.worker_tasks import die_once, leave, raise_odd, touch_and_sleep
from tentpole.errors import MachineError
from tentpole.execution.local import WorkerLost, local
from tentpole.execution.worker import serve


def _appears(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_death_of_an_idle_worker_costs_nobody_anything() -> None:
    with local(1) as executor:
        first = executor.submit(os.getpid).result(timeout=60)
        os.kill(first, signal.SIGKILL)
        later = [executor.submit(os.getpid) for _ in range(3)]
        assert first not in {future.result(timeout=60) for future in later}


def test_the_death_of_starting_workers_costs_nobody_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    with local(1) as executor:
        start, started = executor.new_process, list[BaseProcess]()

        def killed(connection: Connection) -> BaseProcess:  # before a task is handed over: at once, then once it is up
            process = start(connection)
            started.append(process)
            if len(started) < 3:
                time.sleep(0.5 * (len(started) - 1))
                os.kill(process.pid or 0, signal.SIGKILL)
            return process

        monkeypatch.setattr(executor, "new_process", killed)
        results = [executor.submit(abs, -k) for k in range(30)]
        assert [future.result(timeout=120) for future in results] == list(range(30))
        assert len(started) == 3


def test_workers_that_never_start_are_said_to_be_the_machines_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os\nos._exit(9)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with local(1) as executor, pytest.raises(MachineError, match=r"5 in a row were lost.*ended with status 9"):
        executor.submit(os.getpid).result(timeout=120)


def test_a_worker_that_dies_at_a_task_fails_that_task_alone(tmp_path: Path) -> None:
    with local(2) as executor:
        lost = executor.submit(touch_and_sleep, str(tmp_path / "a"), 60.0)
        kept = executor.submit(touch_and_sleep, str(tmp_path / "b"), 1.0)
        waiting = [executor.submit(abs, -1) for _ in range(3)]
        _appears(tmp_path / "a")
        os.kill(int((tmp_path / "a").read_text()), signal.SIGKILL)
        with pytest.raises(WorkerLost, match="SIGKILL"):
            lost.result(timeout=60)
        assert kept.result(timeout=60) > 0
        assert [future.result(timeout=60) for future in waiting] == [1, 1, 1]


def test_a_lasting_task_is_begun_again_when_its_worker_dies(tmp_path: Path) -> None:
    with local(1) as executor:
        assert executor.submit_lasting(2, die_once, str(tmp_path / "a")).result(timeout=60) == "done"
        with pytest.raises(WorkerLost):
            executor.submit_lasting(1, die_once, str(tmp_path / "b")).result(timeout=60)


def test_what_runs_can_be_cancelled_and_the_next_task_has_a_worker(tmp_path: Path) -> None:
    with local(1) as executor:
        running = executor.submit(touch_and_sleep, str(tmp_path / "a"), 60.0)
        _appears(tmp_path / "a")
        assert running.cancel()
        with pytest.raises(CancelledError):
            running.result(timeout=30)
        assert executor.submit(abs, -1).result(timeout=60) == 1


def test_shutting_down_at_once_ends_what_runs_and_cancels_what_waits(tmp_path: Path) -> None:
    executor = local(1)
    futures: list[Future[int]] = [executor.submit(touch_and_sleep, str(tmp_path / "a"), 60.0) for _ in range(3)]
    _appears(tmp_path / "a")
    began = time.monotonic()
    executor.shutdown(cancel_futures=True)
    assert time.monotonic() - began < 30
    assert all(future.done() for future in futures)
    with pytest.raises(RuntimeError, match="shut down"):
        executor.submit(abs, -1)


def test_whatever_a_task_raises_reaches_the_caller_as_an_error() -> None:
    with local(1) as executor:
        with pytest.raises(RuntimeError, match="SystemExit: gone"):
            executor.submit(leave).result(timeout=60)
        with pytest.raises(RuntimeError, match="Odd: 1 and 2"):
            executor.submit(raise_odd).result(timeout=60)
        with pytest.raises(ValueError, match="math domain") as caught:
            executor.submit(__import__("math").sqrt, -1).result(timeout=60)
        assert "Traceback" in caught.value.__notes__[0]


def test_a_worker_whose_driver_is_gone_ends_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    ours, theirs = Pipe()
    ours.close()
    worker = get_context("fork").Process(target=serve, args=(theirs, 1, True))
    worker.start()
    worker.join()
    assert worker.exitcode == 0
    assert capfd.readouterr().err == ""
