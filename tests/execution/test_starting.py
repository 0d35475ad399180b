"""Workers forked from a process that has imported ahead: as fresh ones, but at once; fresh where that is not safe."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import os, signal, sys, time
from multiprocessing import forkserver
from pathlib import Path

from support.worker_tasks import imported, touch_and_sleep
from tentpole.execution import starting
from tentpole.execution.local import WorkerLost, local

folder = Path(sys.argv[1])
starting.import_ahead("support.imported_ahead")
starting.import_ahead("os")  # there is one already
starting.LONGEST_IMPORT_S = 0.1
with local(1) as executor, local(1) as waits:
    fresh = executor.submit(imported, "support.imported_ahead").result()
    server = forkserver._forkserver._forkserver_pid
    starting.LONGEST_IMPORT_S = 60.0
    waiting = waits.submit(imported, "support.imported_ahead")
    time.sleep(0.2)
    assert not waiting.done()
    (folder / "go").touch()
    assert waiting.result() == (server, True)
    parent, there = executor.submit(imported, "support.imported_ahead").result()
    assert fresh == (os.getpid(), False) and (parent, there) == (server, True), (fresh, parent, there)
    assert executor.submit(os.getsid, 0).result() == executor.submit(os.getpid).result()
    assert executor.submit(os.getenv, "TENTPOLE_IMPORTED").result() is None
    assert executor.submit(os.getenv, "OMP_NUM_THREADS").result() == "1"
    try:
        executor.submit(os.abort).result()
    except WorkerLost as error:
        assert "SIGABRT" in str(error), error
    assert executor.submit(abs, -1).result() == 1
with local(1, time_limit_s=0.5) as executor:
    try:
        executor.submit(time.sleep, 600).result()
    except TimeoutError:
        assert executor.submit(abs, -1).result() == 1
with local(1, threads=2) as executor:
    assert executor.submit(imported, "support.imported_ahead").result() == (os.getpid(), False)
os.environ["KMP_INIT_AT_FORK"] = "FALSE"  # as scikit-learn does when it is imported
with local(1) as executor:
    assert executor.submit(imported, "support.imported_ahead").result() == (server, True)
os.environ["SOMETHING"] = "else"
with local(1) as executor:
    assert executor.submit(imported, "support.imported_ahead").result() == (os.getpid(), False)
del os.environ["SOMETHING"]
executor = local(2)
executor.submit(touch_and_sleep, str(folder / "worker"), 600.0)
idle = executor.submit(os.getpid).result()
print(server, idle, flush=True)
time.sleep(600)
"""


def _ends(pid: int) -> None:
    deadline = time.monotonic() + 60
    while Path(f"/proc/{pid}/cmdline").is_file() and Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < deadline, pid
        time.sleep(0.02)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks at /proc")
def test_workers_are_forked_once_all_is_imported_and_end_with_their_driver(tmp_path: Path) -> None:
    tests = str(Path(__file__).parents[1])
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([tests, *sys.path]),
        "WAIT_FOR": str(tmp_path / "go"),
    }
    driver = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert driver.stdout is not None
    server, idle = map(int, driver.stdout.readline().split())
    while not (tmp_path / "worker").is_file():
        time.sleep(0.01)
    busy = int((tmp_path / "worker").read_text())
    driver.kill()
    driver.wait()
    _ends(idle)
    os.kill(busy, signal.SIGTERM)  # plain functions are not watched: see guarded()
    _ends(busy)
    _ends(server)


def test_what_imports_ahead_ends_with_a_driver_that_dies_meanwhile(tmp_path: Path) -> None:
    program = (
        "import sys, time; from multiprocessing import forkserver; from tentpole.execution import starting\n"
        "starting.import_ahead('support.imported_ahead'); print(forkserver._forkserver._forkserver_pid, flush=True)\n"
        "time.sleep(600)"
    )
    tests = str(Path(__file__).parents[1])
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([tests, *sys.path]),
        "WAIT_FOR": str(tmp_path / "never"),
        "STARTED": str(tmp_path / "started"),
    }
    driver = subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    server = int(driver.stdout.readline())
    while not (tmp_path / "started").is_file():
        time.sleep(0.01)
    driver.kill()
    driver.wait()
    _ends(server)


def test_what_a_campaign_has_imported_ahead_is_there() -> None:
    module = importlib.import_module("tentpole.campaign.imported_ahead")
    assert {"torch", *module.WANTED} <= set(sys.modules)
