"""One driver per folder: however many start, whatever file system, and whatever lies where the lock should be."""

from __future__ import annotations

import errno
import fcntl
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

from tentpole.errors import StateError
from tentpole.execution.ownership import birth
from tentpole.storage import lock as module
from tentpole.storage.lock import Lock, owner

STARTS = 16


def _start(folder: Path, together: Barrier, no_kernel_locks: bool, no_links: bool, won: Any, tried: Any) -> None:
    if no_kernel_locks:
        kernels = fcntl.flock

        def flock(file: int, how: int) -> None:
            if not Path(f"/proc/self/fd/{file}").readlink().name.startswith("tentpole-"):
                raise OSError(errno.ENOLCK, "No locks available")
            kernels(file, how)

        fcntl.flock = flock  # type: ignore[assignment]
    if no_links:

        def link(*_: object) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        os.link = link  # type: ignore[assignment]
    together.wait()
    try:
        with Lock(folder):
            won.put(os.getpid())
            for _ in range(STARTS - 1):  # holds it until all others have tried
                assert tried.acquire(timeout=60)
    except StateError:
        tried.release()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("no_kernel_locks", "no_links"), [(False, False), (True, False), (False, True)], ids=["", "no flock", "no links"]
)
@pytest.mark.parametrize("left", ["nothing", "a dead driver's", "emptied"])
def test_of_many_that_start_together_exactly_one_wins(
    tmp_path: Path, no_kernel_locks: bool, no_links: bool, left: str
) -> None:
    if left != "nothing":
        dead = {"host": socket.gethostname(), "pid": 4_000_000, "birth": "1", "boot": module._boot()}
        (tmp_path / "lock").write_text(json.dumps(dead) if left != "emptied" else "")
        os.utime(tmp_path / "lock", (0, 0))
    context = multiprocessing.get_context("fork")
    together, won, tried = context.Barrier(STARTS), context.Queue(), context.Semaphore(0)
    arguments = (tmp_path, together, no_kernel_locks, no_links, won, tried)
    starts = [context.Process(target=_start, args=arguments) for _ in range(STARTS)]
    for process in starts:
        process.start()
    for process in starts:
        process.join(60)
    winners = [won.get(timeout=5)]
    assert won.empty(), "more than one"
    assert winners
    assert list(tmp_path.iterdir()) == []  # given back


def test_the_second_is_told_who_works_there_and_a_given_back_folder_is_free(tmp_path: Path) -> None:
    with Lock(tmp_path) as first:
        assert first.held
        with pytest.raises(StateError, match=f"another driver works here: host .*, pid {os.getpid()}, since"):
            Lock(tmp_path)
        found = owner(tmp_path)
        assert found is not None
        assert found["pid"] == os.getpid()
    assert not first.held
    assert owner(tmp_path) is None
    Lock(tmp_path).release()


def test_no_locks_of_the_kernel_are_not_taken_for_another_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    Lock(tmp_path).release()


def test_a_disk_that_takes_nothing_is_told_with_the_name_of_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unlink(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    def write(path: Path, content: bytes) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr("tentpole.storage.lock._write_new", write)
    monkeypatch.setattr(Path, "unlink", unlink)
    with pytest.raises(OSError, match=r"Read-only") as caught:
        Lock(tmp_path)
    assert caught.value.filename == str(tmp_path / "lock")


def test_the_lock_of_a_killed_driver_is_taken_over_at_once(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        written = {"host": socket.gethostname(), "pid": other.pid, "birth": birth(other.pid), "boot": module._boot()}
        (tmp_path / "lock").write_text(json.dumps(written))
        with pytest.raises(StateError, match=f"pid {other.pid}"):
            Lock(tmp_path)
        other.send_signal(signal.SIGKILL)
    with Lock(tmp_path) as now:
        assert now.held


def test_a_pid_that_another_process_has_today_and_a_host_that_was_started_anew_hold_nothing(tmp_path: Path) -> None:
    here = {"host": socket.gethostname(), "pid": os.getpid(), "birth": birth(os.getpid()), "boot": module._boot()}
    for stale in ({"birth": "1"}, {"boot": "before"}):
        (tmp_path / "lock").write_text(json.dumps(here | stale))
        os.utime(tmp_path / "lock", (0, 0))
        Lock(tmp_path).release()


def test_a_container_beside_this_one_whose_pids_mean_nothing_here_holds_by_its_sign_of_life(tmp_path: Path) -> None:
    here = {"host": socket.gethostname(), "pid": 2**22, "birth": "1", "boot": module._boot()}
    (tmp_path / "lock").write_text(json.dumps(here | {"processes": "4026532999"}))
    with pytest.raises(StateError, match="another driver works here"):
        Lock(tmp_path)
    os.utime(tmp_path / "lock", (0, 0))
    Lock(tmp_path).release()


def test_the_lock_of_a_driver_of_the_version_before_holds_as_long_as_it_lives(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": "yesterday"}))
    with path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StateError, match="another driver works here"):
            Lock(tmp_path)
    Lock(tmp_path).release()


def test_another_hosts_lock_stays_and_its_last_sign_of_life_is_told(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text(json.dumps({"host": "elsewhere", "pid": 1, "since": "yesterday"}))
    os.utime(tmp_path / "lock", (time.time() - 1000, time.time() - 1000))
    with pytest.raises(StateError, match=r"elsewhere, pid 1, .* 1\d\d\d s old.*delete"):
        Lock(tmp_path)


@pytest.mark.parametrize("garbage", ["5", "[1, 2]", "{", "", "\x00\x00", '{"pid": "x"}', "[" * 100_000])
def test_a_file_that_names_nobody_is_in_nobodys_way(tmp_path: Path, garbage: str) -> None:
    (tmp_path / "lock").write_text(garbage)
    assert owner(tmp_path) is None
    os.utime(tmp_path / "lock", (0, 0))
    Lock(tmp_path).release()


def test_what_a_symbolic_link_points_to_is_never_touched(tmp_path: Path) -> None:
    mine = tmp_path / "thesis.tex"
    mine.write_text("years of work")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "lock").symlink_to(mine)
    with pytest.raises(StateError, match="symbolic link"):
        Lock(tmp_path / "run")
    assert mine.read_text() == "years of work"


def test_a_folder_in_the_locks_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(StateError, match="is a folder"):
        Lock(tmp_path)


def test_a_lock_that_was_deleted_under_its_driver_is_known_to_be_gone(tmp_path: Path) -> None:
    with Lock(tmp_path) as first:
        (tmp_path / "lock").unlink()
        assert not first.held
        with Lock(tmp_path) as second:
            first.release()
            assert second.held
