"""What stops a command is told in words, and its exit status says of what kind it was."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tentpole.benchmarks.runs import do_here
from tentpole.cli import app
from tentpole.errors import InputError, LabelError, MachineError, StateError


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (InputError("[x] is no key"), 2, "error: [x] is no key"),
        (StateError("locked"), 2, "error: locked"),
        (MachineError("all crash alike"), 3, "error: all crash alike"),
        (LabelError("crashed", "no"), 3, "error: no"),
        (OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), "a/b"), 2, "error: a/b: Not a directory. A file"),
        (OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), "a" * 300), 2, "Choose a shorter name"),
        (KeyboardInterrupt(), 130, "the same command goes on"),
        (app.Stopped(), 3, "SIGTERM"),
    ],
    ids=repr,
)
def test_errors_are_told_and_give_their_status(
    error: BaseException,
    status: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def command(**_: object) -> None:
        raise error

    monkeypatch.setattr(app, "app", command)
    monkeypatch.setattr(app, "_leave", lambda status, **_: sys.exit(status))  # it would end this very process
    with pytest.raises(SystemExit) as ended:
        app.main()
    said = capsys.readouterr().err
    assert ended.value.code == status
    assert words in said
    assert "Traceback" not in said


def test_a_stop_is_no_failure_of_the_run_under_way() -> None:
    begun: list[int] = []

    def work(run: int) -> None:
        begun.append(run)
        signal.raise_signal(signal.SIGTERM)

    signal.signal(signal.SIGTERM, app._stop)
    with pytest.raises(app.Stopped):
        do_here(work, [1, 2], lambda: None)
    assert begun == [1]


def test_a_terminal_that_lacks_a_letter_stops_nothing() -> None:
    script = "from tentpole.cli import app\napp.app = lambda **_: app.out.print('σ_F of 3 Å [/x]')\napp.main()\n"
    ended = subprocess.run(
        [sys.executable, "-c", script], env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True, timeout=100
    )
    assert (ended.returncode, ended.stdout) == (0, b"?_F of 3 ? [/x]\n"), ended.stderr


def test_a_command_ends_without_taking_down_what_was_imported() -> None:
    script = (
        "import atexit\n"
        "from tentpole.cli import app\n"
        "class Kept:\n"
        "    def __del__(self): print('taken down')\n"
        "kept = Kept()\n"
        "atexit.register(print, 'last')\n"
        "app.app = lambda **_: 3\n"
        "app.main()\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100)
    assert (ended.returncode, ended.stdout) == (3, "last\n"), ended.stderr
