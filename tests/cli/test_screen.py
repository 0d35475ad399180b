"""What the screen says of progress: times that fit, a first line at once, who is at work."""

import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from typer.testing import CliRunner

from support.made_campaign import Made
from support.paths import DATA
from support.small_campaign import small_campaign
from tentpole.campaign.record import CampaignRecord
from tentpole.cli import status
from tentpole.cli.app import app
from tentpole.cli.opening import first_line
from tentpole.cli.progress_bars import Pace, Screen
from tentpole.cli.status import print_status, standing_now, watch
from tentpole.report.standing import advice
from tentpole.storage.lock import Lock
from tentpole.training.jobs import TrainingJob
from tentpole.training.reports import read_progress
from tentpole.units import duration


def test_time_left_counts_from_the_first_unit_and_down_between_two() -> None:
    pace = Pace("labels", 0.0)
    pace.tell(0, 10, 1.0)
    assert pace.share is None
    assert pace.left(5.0) is None
    pace.tell(2, 10, 20.0)  # workers took 20 s to start
    assert pace.left(21.0) is None
    pace.tell(4, 10, 24.0)
    assert pace.left(24.0) == pytest.approx(12.0)
    assert pace.left(30.0) == pytest.approx(6.0)
    pace.tell(10, 10, 36.0)
    assert pace.share is None  # over: what comes next is about to begin


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.25, "0.25 s"), (42, "42 s"), (220, "3 min 40 s"), (180, "3 min"), (7500, "2 h 5 min")]
)
def test_times_as_one_says_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_phase_is_drawn_before_its_work_begins() -> None:
    out = io.StringIO()
    with Screen(Console(file=out, width=80, force_terminal=True)) as screen:
        screen.progress("reading the campaign", 0, 0)
        assert "reading the campaign" in out.getvalue()


def test_a_phase_that_is_over_goes_on_moving() -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True)
    with Screen(console) as screen:
        screen.progress("round 0: labels", 6, 6)
        time.sleep(0.3)
        screen.progress("round 0: training", 0, 0)
        time.sleep(0.3)
    frames = out.getvalue().count("round 0:")
    assert frames > 3


@pytest.mark.parametrize(
    "words",
    [
        ["check", "none.toml"],
        ["run", "none.toml"],
        ["status", "none"],
        ["report", "none"],
        ["export", "none", "--out", "there"],
        ["init", "none.xyz"],
        ["score", "none.xyz", "--models", "none", "--out", "there.xyz"],
        ["select", "none.xyz", "--out", "there.xyz"],
    ],
    ids=lambda words: words[0],
)
def test_something_moves_before_a_command_begins(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phases: list[str] = []

    class Recorded(Screen):
        def progress(self, phase: str, done: float, total: float) -> None:
            phases.append(phase)
            super().progress(phase, done, total)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tentpole.cli.progress_bars.Screen", Recorded)
    assert CliRunner().invoke(app, words).exception is not None  # for want of its file
    assert phases


def test_the_first_line_says_what_will_happen(tmp_path: Path) -> None:
    file = small_campaign(tmp_path)
    said = first_line(file, None)
    assert said == (
        "runs/copper: 6 initial labels by emt, then up to 2 rounds of at most 4 labels, until there is a verdict"
    )
    (tmp_path / "here" / "rounds").mkdir(parents=True)
    assert first_line(file, tmp_path / "here").endswith("here: going on")
    assert first_line(tmp_path / "none.toml", None).endswith("reading it")


def test_the_first_line_comes_before_anything_heavy_is_imported(tmp_path: Path) -> None:
    script = "import sys, tentpole.cli.opening; print(sorted({'torch', 'pydantic', 'numba'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_status_says_who_is_at_work_and_at_what(tmp_path: Path) -> None:
    made = Made(tmp_path).initial()
    made.round()
    with Lock(made.root):
        record = CampaignRecord.read(made.root)
        assert record.running
        said = standing_now(record)
        assert said.startswith("Running since ")
        assert "pid" in said
        assert "round 2, MD 0 %" in said
        told = record.to_json()
        assert told["running"]
        assert told["under_way"]["phase"] == "MD"
        json.dumps(told)
    record = CampaignRecord.read(made.root)
    assert not record.running
    assert "Not running" in standing_now(record)
    (made.root / "walkers").mkdir(exist_ok=True)
    (made.root / "walkers" / "longer-w00.progress").write_text("40")
    assert CampaignRecord.read(made.root).to_json()["under_way"]["phase"] == "MD for the final look"
    out = io.StringIO()
    print_status(Console(file=out, width=80), record)
    assert "round 1: " in out.getvalue()
    assert "audit of" in out.getvalue()


def test_watching_prints_again_until_nobody_works_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(tmp_path).initial()
    lock, waited, out = Lock(made.root), list[float](), io.StringIO()

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        lock.release()

    monkeypatch.setattr(status, "time", SimpleNamespace(sleep=sleep))
    watch(Console(file=out, width=80, force_terminal=True, highlight=False), made.root, 5.0)
    assert waited == [5.0]
    first, second = out.getvalue().split("\x1b[2J")[1:]  # the screen is cleared for each
    assert "Running since" in first
    assert "Again every 5 s" in first
    assert "Not running" in second
    assert "Again every" not in second


def test_ctrl_c_ends_the_watching_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(status, "watch", interrupted)
    ended = CliRunner().invoke(app, ["status", str(Made(tmp_path).initial().root), "--watch"])
    assert (ended.exit_code, ended.exception) == (0, None)


def test_a_verdict_ends_with_the_command_to_type_next() -> None:
    record = CampaignRecord.read(DATA / "v1" / "finished")
    assert record.verdict is not None
    out = io.StringIO()
    print_status(Console(file=out, width=80, markup=False), record)
    said = " ".join(out.getvalue().split())
    assert record.verdict.meaning in said
    what, command = advice(record, record.verdict.kind, "")[0]
    assert said.endswith(f"{' '.join(what.split())}: {command}")


@pytest.mark.parametrize("kind", ["CONVERGED", "COVERAGE_EXHAUSTED", "STARVED", "BUDGET", "STALLED", "UNSTABLE"])
def test_every_verdict_has_a_command_to_type_next(kind: str) -> None:
    record = CampaignRecord.read(DATA / "v1" / "finished")
    assert advice(record, kind, "")[0][1].startswith(("tentpole run ", "tentpole export "))


def test_progress_of_a_training_is_known_between_two_evaluations(tmp_path: Path) -> None:
    job = TrainingJob(0, 1, tmp_path / "t", None, tmp_path, tmp_path / "member-0")
    assert read_progress(job.log) is None
    job.progress.write_text("41 100")
    assert read_progress(job.log) == (41, 100)


@pytest.mark.slow
def test_ctrl_c_twice_ends_at_once_and_without_a_traceback(tmp_path: Path) -> None:
    file = small_campaign(tmp_path, training={"kind": "mace", "updates": 100000, "channels": 4, "max_L": 0})
    driver = subprocess.Popen(
        [sys.executable, "-m", "tentpole", "run", str(file), "--dir", str(tmp_path / "run")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    began = time.monotonic()
    while not list((tmp_path / "run").glob("models/r000/*.progress")):
        assert driver.poll() is None
        assert time.monotonic() - began < 120
        time.sleep(0.05)
    driver.send_signal(signal.SIGINT)
    time.sleep(0.05)
    driver.send_signal(signal.SIGINT)
    said, _ = driver.communicate(timeout=60)
    assert driver.returncode in (130, -signal.SIGINT)
    assert "Traceback" not in said


@pytest.mark.parametrize("text", ["x = " + "[" * 5000 + "]" * 5000, "no TOML", 'name = "a\\u0000b"'])
def test_the_first_line_leaves_what_is_wrong_to_who_checks_it(tmp_path: Path, text: str) -> None:
    file = tmp_path / "c.toml"
    file.write_text(text)
    assert first_line(file, None)
    assert first_line(tmp_path / "none.toml", None).endswith("reading it")
