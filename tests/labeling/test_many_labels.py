"""What the machine does to labels is told from what structures do: it costs no attempt and puts none in quarantine."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from pathlib import Path
from typing import Any

import pytest
from ase import Atoms
from ase.build import molecule

from tentpole.errors import MachineError
from tentpole.labeling import Reference, Task, label_all, load
from tentpole.labeling.tasks import Outcome


def frames(count: int) -> list[Atoms]:
    made = [molecule("H2O") for _ in range(count)]
    for seed, atoms in enumerate(made):
        atoms.rattle(0.05, seed=seed)
    return made


class Here(Executor):
    """Computes in this process when the result is asked for; `before(number)` may raise in its place."""

    def __init__(self, before: Callable[[int], None] = lambda number: None) -> None:
        self.calls, self._before = 0, before

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.calls += 1
        try:
            self._before(self.calls)
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def quarantined(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "quarantine").glob("*"))


def tasks(root: Path, reference: Reference | None = None, count: int = 4) -> list[Task]:
    return [Task(root, reference or load("mock"), atoms) for atoms in frames(count)]


def test_an_executor_that_always_breaks_stops_everything_and_nothing_is_in_quarantine(tmp_path: Path) -> None:
    def broken(number: int) -> None:
        raise BrokenExecutor("All workers expired")

    with pytest.raises(MachineError, match=r"All workers expired.*the same command goes on"):
        list(label_all(tasks(tmp_path), Here(broken)))
    assert quarantined(tmp_path) == []


def test_losses_of_labels_that_had_not_begun_cost_no_attempt(tmp_path: Path) -> None:
    def twice(number: int) -> None:
        if number <= 8:
            raise BrokenExecutor("an idle worker died")

    outcomes = list(label_all(tasks(tmp_path), Here(twice)))
    assert [(o.ok, o.attempts) for o in outcomes] == [(True, 1)] * 4


@pytest.fixture
def crashing(tmp_path: Path) -> Iterator[Reference]:
    (tmp_path / "fragile.py").write_text(
        "from ase.calculators.emt import EMT\n"
        "import os\n"
        "def make(**keywords):\n"
        "    if 'HEALTHY' not in os.environ:\n"
        "        raise RuntimeError('no licence')\n"
        "    from tentpole.labeling.mock import Mock\n"
        "    return Mock()\n"
    )
    path = tmp_path / "fragile.toml"
    path.write_text('calculator = "fragile:make"\nproperties = ["energy", "forces"]\n')
    sys.path.insert(0, str(tmp_path))
    yield load(path)
    sys.path.remove(str(tmp_path))
    sys.modules.pop("fragile", None)


def test_labels_that_all_crash_alike_stop_and_are_computed_once_the_machine_is_mended(
    tmp_path: Path, crashing: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MachineError, match=r'6 attempts in a row at [34] structures.*"crashed".*no licence'):
        list(label_all(tasks(tmp_path, crashing), Here()))
    assert quarantined(tmp_path) == []
    monkeypatch.setenv("HEALTHY", "1")
    assert [o.ok for o in label_all(tasks(tmp_path, crashing), Here())] == [True] * 4
    assert quarantined(tmp_path) == []
    assert list((tmp_path / "work").iterdir()) == []


def test_crashes_beside_labels_that_succeed_are_the_structures(
    tmp_path: Path, crashing: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = {1}

    def sometimes(number: int) -> None:
        monkeypatch.delenv("HEALTHY", raising=False)
        if number in good:
            monkeypatch.setenv("HEALTHY", "1")

    outcomes = list(label_all(tasks(tmp_path, crashing, 6), Here(sometimes)))
    failed = [o for o in outcomes if not o.ok]
    assert {(o.reason, o.attempts) for o in failed} == {("crashed", 2)}
    assert quarantined(tmp_path) == sorted(o.name for o in failed)
    assert len(failed) == 5


def test_two_structures_that_crash_are_not_enough_to_blame_the_machine(tmp_path: Path, crashing: Reference) -> None:
    outcomes = list(label_all(tasks(tmp_path, crashing, 2), Here()))
    assert [(o.reason, o.attempts) for o in outcomes] == [("crashed", 2)] * 2
    assert len(quarantined(tmp_path)) == 2


@pytest.mark.parametrize("command", ["/nowhere/program-that-is-not-there", "sh -c 'exit 127'"])
def test_a_program_that_cannot_be_started_is_no_fault_of_the_structures(
    tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "asks.py").write_text(
        "import shlex, subprocess\n"
        "from ase.calculators.calculator import CalculationFailed\n"
        "def make(**keywords):\n"
        f"    command = {command!r}\n"
        "    if command.startswith('/'):\n"
        "        subprocess.Popen(shlex.split(command))\n"
        "    code = subprocess.call(command, shell=True)\n"
        '    raise CalculationFailed(f\'Calculator "x" failed with command "{command}" with error code {code}\')\n'
    )
    path = tmp_path / "asks.toml"
    path.write_text('calculator = "asks:make"\nproperties = ["energy", "forces"]\n')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "asks", raising=False)
    with pytest.raises(MachineError, match="command could not be run"):
        list(label_all(tasks(tmp_path, load(path), 1), Here()))
    assert quarantined(tmp_path) == []


def test_an_error_of_the_labelling_itself_is_the_labels_own(tmp_path: Path) -> None:
    def odd(number: int) -> None:
        if number <= 2:
            raise KeyError("forces")

    outcomes: list[Outcome] = list(label_all(tasks(tmp_path, count=1), Here(odd)))
    assert (outcomes[0].ok, outcomes[0].reason, outcomes[0].attempts) == (False, "crashed", 2)
    assert os.listdir(tmp_path / "quarantine")  # noqa: PTH208
