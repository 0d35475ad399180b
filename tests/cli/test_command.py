"""The command as a user meets it: what it prints, and its exit status."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tentpole.storage.journal import read

Make = Callable[..., Path]


def tentpole(*words: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tentpole", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ | {"COLUMNS": "200"})


@pytest.mark.slow
def test_check_tries_what_a_campaign_needs(campaign_file: Make) -> None:
    ended = tentpole("check", campaign_file(stop={"labels": 1000}))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("FAIL") == 0
    assert all(f"ok   its {what}" in ended.stdout for what in ("repeatability", "forces", "stress"))
    assert "2 walkers × 6 snapshots = 12 candidates a round, at most 4 labels" in ended.stdout
    assert "ok   verdict: CONVERGED needs errors below 50 meV/Å" in ended.stdout
    assert "warn validation set: none" in ended.stdout
    assert "1 warning. It can run" in ended.stdout
    assert "1000 labels would take about" in ended.stdout


@pytest.mark.slow
def test_check_of_a_reference_that_cannot_run_says_so(campaign_file: Make, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('calculator = "no_such_module:Thing"\nproperties = ["energy", "forces"]\n')
    ended = tentpole("check", campaign_file(reference="mine.toml"))
    assert ended.returncode == 2
    assert "no_such_module" in ended.stdout + ended.stderr


@pytest.mark.parametrize("words", [["run", "nowhere.toml"], ["status", "."], ["runn"], ["run"], ["references", "xtbb"]])
def test_bad_input_exits_2_with_a_message_and_no_traceback(words: list[str]) -> None:
    ended = tentpole(*words)
    assert ended.returncode == 2
    assert ended.stderr.strip()
    assert "Traceback" not in ended.stderr


def test_references_are_listed_and_shown_whole() -> None:
    listed = tentpole("references").stdout
    assert all(name in listed for name in ("mock", "lj", "emt", "xtb", "vasp", "aims"))
    assert "[parameters]" in tentpole("references", "vasp").stdout


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 3)])
def test_an_interrupted_run_saves_says_how_to_go_on_and_leaves_no_worker(
    campaign_file: Make, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    path = campaign_file(training={"kind": "mace", "updates": 100000})
    command = [sys.executable, "-m", "tentpole", "run", str(path), "--dir", str(tmp_path / "run")]
    driver = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )
    waited = time.monotonic()
    while not list((tmp_path / "run").glob("models/r000/*.log")):
        assert time.monotonic() - waited < 120
        time.sleep(0.1)
    driver.send_signal(number)
    said, _ = driver.communicate(timeout=60)
    assert driver.returncode == status
    assert f"tentpole run {path}" in said
    assert read(tmp_path / "run" / "journal.jsonl")[-1]["event"] == "closed"
    waited, left = time.monotonic(), "?"
    while left and time.monotonic() - waited < 10:
        time.sleep(0.2)
        left = subprocess.run(["pgrep", "-as", str(driver.pid)], capture_output=True, text=True).stdout
    assert not left
