"""Whose a folder is, whatever clocks say, and whatever else lies beside it."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ase.build import molecule

from tentpole.errors import InputError
from tentpole.execution import ownership
from tentpole.execution.metering import metered, readings
from tentpole.execution.ownership import clear_stale, is_in_use, own_folder, used
from tentpole.labeling import Task, label_all, load


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that this process has looked on."""
    now = [100.0]
    monkeypatch.setattr(ownership.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(ownership, "_seen", {})
    return now


@pytest.mark.parametrize("ahead_s", [7200.0, -600.0], ids=["clock ahead", "clock behind"])
def test_a_worker_elsewhere_lives_as_long_as_its_sign_changes(
    tmp_path: Path, clock: list[float], ahead_s: float
) -> None:
    folder = tmp_path / "tmp-label-elsewhere.77-1"
    folder.mkdir()
    sign = folder / "alive"
    sign.touch()
    for beat in range(5):
        told = time.time() + ahead_s + beat
        os.utime(sign, (told, told))
        assert is_in_use(folder)
        clock[0] += 50.0
        assert is_in_use(folder)
    clock[0] += 61.0
    assert not is_in_use(folder)


@pytest.mark.parametrize("name", ["tmp-x", "tmp-", "tmp-a-b-c", "tmp-label-host.x-1y", "notes"])
def test_what_no_worker_has_made_is_nobodys_and_stays(tmp_path: Path, name: str) -> None:
    stray = tmp_path / "work" / name
    stray.mkdir(parents=True)
    assert not is_in_use(stray)
    clear_stale(tmp_path)
    assert stray.is_dir()


def test_a_host_with_dots_and_dashes_in_its_name_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership.socket, "gethostname", lambda: "node-7.cluster.org")
    folder = own_folder(tmp_path, "ab12-cd34")
    folder.mkdir()
    assert is_in_use(folder)
    assert not is_in_use(folder.with_name(folder.name.replace(".org.", ".org.1")))


@pytest.mark.parametrize("content", ["[]", "5", "{", '{"md": -1e9}', '{"md": NaN}', '{"md": "fast"}', '{"md": null}'])
def test_a_note_that_no_job_has_written_counts_nothing(tmp_path: Path, content: str) -> None:
    with metered(tmp_path, "md"):
        pass
    for name in ("done-x-y", "tmp-foo", "tmp-md_1-elsewhere.1-2"):
        (tmp_path / "spent" / name).write_text(content)
    (own,) = readings(tmp_path, ended=True).values()
    assert own.keys() == {"md"}
    assert readings(tmp_path, ended=False) == {}


@pytest.mark.parametrize("told", ["-5", "nan", "inf", "x", ""])
def test_time_that_cannot_be_is_not_believed(tmp_path: Path, told: str) -> None:
    (tmp_path / "alive").write_text(told)
    assert used(tmp_path) == 0.0


def test_a_pool_of_threads_cannot_keep_limits_and_says_so(tmp_path: Path) -> None:
    task = Task(tmp_path, load("mock"), molecule("H2O"), time_limit_s=0.5)
    with ThreadPoolExecutor(1) as executor:
        with pytest.raises(InputError, match="HighThroughputExecutor"):
            list(label_all([task], executor))
        (outcome,) = label_all([Task(tmp_path, load("mock"), molecule("H2O"))], executor)
    assert outcome.ok


def test_folders_of_a_container_with_pids_of_its_own_are_judged_by_their_beat(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(ownership, "processes", lambda: "4026532999")
    folder = own_folder(tmp_path / "work", "label", 2**22)  # a pid that nobody has here
    folder.mkdir(parents=True)
    assert not is_in_use(folder)
    monkeypatch.setattr(ownership, "processes", lambda: "")
    clear_stale(tmp_path)
    assert folder.exists()
