"""Workers: they die, hang and swell, and no label is lost or torn for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from ase import Atoms
from ase.build import molecule

from tentpole.errors import InputError
from tentpole.execution.local import local
from tentpole.labeling import Reference, Task, label_all, load
from tentpole.storage.atomic import read_json
from tentpole.storage.labels import label_files, read_label

pytestmark = pytest.mark.slow


def frames(count: int) -> list[Atoms]:
    made = []
    for seed in range(count):
        atoms = molecule("H2O")
        atoms.rattle(0.05, seed=seed)
        made.append(atoms)
    return made


def slow(folder: Path, seconds: float) -> Reference:
    path = folder / "slow.toml"
    path.write_text(f'parent = "mock"\n[parameters]\nseconds = {seconds}\n')
    return load(path)


def energies(root: Path) -> dict[str, float]:
    return {label.name: label.energy for label in map(read_label, label_files(root))}


def test_labels_do_not_depend_on_who_computes_them_when(tmp_path: Path) -> None:
    pytest.importorskip("tblite")
    reference = load("xtb")
    for folder, order, workers in (("one", 1, 1), ("two", -1, 2)):
        tasks = [Task(tmp_path / folder, reference, atoms, 0, 1) for atoms in frames(12)[::order]]
        with local(workers, time_limit_s=60) as executor:
            assert all(outcome.ok for outcome in label_all(tasks, executor))
    assert energies(tmp_path / "one") == energies(tmp_path / "two")  # bit for bit
    assert len(energies(tmp_path / "one")) == 12


def test_nothing_is_computed_twice(tmp_path: Path) -> None:
    tasks = [Task(tmp_path, load("mock"), atoms) for atoms in frames(4)]
    with local(2) as executor:
        first = list(label_all(tasks + tasks, executor))
        second = list(label_all(tasks, executor))
    assert [o.computed for o in first] == [True] * 4
    assert [o.computed for o in second] == [False] * 4


def test_a_task_that_can_never_run_stops_before_the_first_label(tmp_path: Path) -> None:
    pytest.importorskip("tblite")
    tasks = [Task(tmp_path, load("xtb"), a, 0, 1 if i else None) for i, a in enumerate(frames(3))]
    with local(1) as executor, pytest.raises(InputError, match="multiplicity"):
        label_all(tasks, executor)
    assert list(label_files(tmp_path)) == []


def test_a_killed_worker_costs_one_attempt(tmp_path: Path) -> None:
    tasks = [Task(tmp_path, slow(tmp_path, 1.0), atoms) for atoms in frames(3)]
    with local(1) as executor:
        outcomes = label_all(tasks, executor)
        _kill_at_work(tmp_path, outcomes_started=outcomes)
        done = list(outcomes)
    assert all(o.ok for o in done)
    assert sorted(o.attempts for o in done) in ([1, 1, 1], [1, 1, 2])
    assert len(energies(tmp_path)) == 3


def _kill_at_work(root: Path, outcomes_started: object) -> None:
    """SIGKILL the first worker that has a folder in work/, from another thread than the one that waits."""
    import threading

    def watch() -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            for folder in (root / "work").glob("tmp-*"):
                os.kill(int(folder.name.rpartition("-")[2]), signal.SIGKILL)
                return
            time.sleep(0.01)

    threading.Thread(target=watch, daemon=True).start()


def test_a_worker_killed_every_time_leaves_the_reason_in_quarantine(tmp_path: Path) -> None:
    (tmp_path / "deadly.py").write_text("import os\ndef make(**keywords):\n    os.kill(os.getpid(), 9)\n")
    path = tmp_path / "deadly.toml"
    path.write_text('calculator = "deadly:make"\nproperties = ["energy", "forces"]\n')
    sys.path.insert(0, str(tmp_path))
    try:
        with local(2) as executor:
            (outcome,) = label_all([Task(tmp_path, load(path), frames(1)[0])], executor, attempts=3)
            good = list(label_all([Task(tmp_path, load("mock"), a) for a in frames(3)], executor))
    finally:
        sys.path.remove(str(tmp_path))
    assert (outcome.ok, outcome.reason, outcome.attempts) == (False, "died", 3)
    assert read_json(tmp_path / "quarantine" / outcome.name / "reason.json")["reason"] == "died"
    assert all(o.ok for o in good)


def test_a_label_that_hangs_is_ended_at_its_limit(tmp_path: Path) -> None:
    tasks = [Task(tmp_path, slow(tmp_path, 60.0), frames(1)[0])]
    began = time.monotonic()
    with local(1, time_limit_s=1.0) as executor:
        (outcome,) = label_all(tasks, executor, attempts=2)
    assert (outcome.reason, outcome.attempts) == ("timeout", 2)
    assert time.monotonic() - began < 25
    assert "time limit (1.0 s)" in outcome.message


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_limits_of_a_task_hold_on_any_executor(tmp_path: Path) -> None:
    reference = slow(tmp_path, 60.0)
    first, second = frames(2)
    with local(2) as executor:
        tasks = [
            Task(tmp_path, reference, first, time_limit_s=0.5),
            Task(tmp_path, reference, second, memory_limit_GB=0.01),
        ]
        reasons = {o.name: (o.reason, o.message) for o in label_all(tasks, executor, attempts=1)}
    assert reasons[tasks[0].name] == ("timeout", "not finished after 0.5 s.")
    assert reasons[tasks[1].name][0] == "memory"
    assert "the limit is 0.01 GB" in reasons[tasks[1].name][1]


def test_programs_die_with_the_worker_that_started_them(tmp_path: Path) -> None:
    (tmp_path / "launcher.py").write_text(
        textwrap.dedent(
            f"""
            import subprocess, time
            def make(**keywords):
                program = subprocess.Popen(["sleep", "1234.5"])
                open({str(tmp_path / "pid")!r}, "w").write(str(program.pid))
                program.wait()
            """
        )
    )
    path = tmp_path / "launcher.toml"
    path.write_text('calculator = "launcher:make"\nproperties = ["energy", "forces"]\n')
    sys.path.insert(0, str(tmp_path))
    try:
        with local(1, time_limit_s=6.0) as executor:
            (outcome,) = label_all([Task(tmp_path, load(path), frames(1)[0])], executor, attempts=1)
    finally:
        sys.path.remove(str(tmp_path))
    assert outcome.reason == "timeout"
    _gone(int((tmp_path / "pid").read_text()))


DRIVER = """
import sys
from pathlib import Path
from ase.build import molecule
import torch_stand_in  # what a user's script imports is nothing to a worker
from tentpole.execution.local import local
from tentpole.labeling import Task, label_all, load
root = Path(sys.argv[1])
print("driver", flush=True)
tasks = []
for seed in range(4):
    atoms = molecule("H2O")
    atoms.rattle(0.05, seed=seed)
    tasks.append(Task(root, load(root / "slow.toml"), atoms))
executor = local(2)
for outcome in label_all(tasks, executor):
    print(outcome.ok, flush=True)
executor.shutdown()
"""


def test_a_script_needs_no_guard_and_its_workers_die_with_it(tmp_path: Path) -> None:
    slow(tmp_path, 1.0)
    (tmp_path / "script.py").write_text(DRIVER)
    (tmp_path / "torch_stand_in.py").write_text("open('imports', 'a').write('x')\n")
    command = [sys.executable, "script.py", str(tmp_path)]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        assert [driver.stdout.readline().strip() for _ in range(2)] == ["driver", "True"]
        workers = _at_work(tmp_path)
        assert workers
        driver.kill()
    for pid in workers:
        _gone(pid)
    assert (tmp_path / "imports").read_text() == "x"  # the driver's own, once
    done = energies(tmp_path)  # every label on disk is whole
    assert 1 <= len(done) <= 3
    again = subprocess.run(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=True, timeout=60)
    assert again.stdout.split() == ["driver"] + ["True"] * 4
    assert len(energies(tmp_path)) == 4
    assert done.items() <= energies(tmp_path).items()
    assert list((tmp_path / "work").iterdir()) == []


def _at_work(root: Path) -> list[int]:
    for _ in range(200):
        found = [int(p.name.rpartition("-")[2]) for p in (root / "work").glob("tmp-*")]
        if len(found) == 2:
            return found
        time.sleep(0.02)
    return found


def _gone(pid: int) -> None:
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return
        if state == "Z":
            return
        time.sleep(0.1)
    raise AssertionError(f"process {pid} lives on")


def test_workers_have_the_threads_they_were_given(tmp_path: Path) -> None:
    with local(1, threads=1) as executor:
        assert executor.submit(os.getenv, "OMP_NUM_THREADS").result(timeout=60) == "1"
    with local(1, threads=3) as executor:
        assert executor.submit(os.getenv, "OMP_NUM_THREADS").result(timeout=60) == "3"


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InputError, match="time_limit_s = 0"):
        local(1, time_limit_s=0)
    with pytest.raises(InputError, match="threads = 0"):
        local(1, threads=0)


def test_ctrl_c_while_a_worker_starts_is_none_of_its_business(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, pathlib, time\n"
        "if 'STARTED' in os.environ:\n"
        "    pathlib.Path(os.environ['STARTED']).touch()\n"
        "    time.sleep(1)\n"
    )
    (tmp_path / "script.py").write_text(
        "import os, pathlib, signal, time\n"
        "from tentpole.execution.local import local\n"
        "signal.signal(signal.SIGINT, lambda *_: None)\n"
        f"os.environ['STARTED'] = {str(tmp_path / 'started')!r}\n"
        "with local(1) as executor:\n"
        "    future = executor.submit(signal.getsignal, signal.SIGINT)\n"
        "    while not pathlib.Path(os.environ['STARTED']).exists():\n"
        "        time.sleep(0.01)\n"
        "    os.killpg(0, signal.SIGINT)\n"
        "    assert future.result(timeout=60) == signal.SIG_IGN\n"
    )
    ended = subprocess.run(
        [sys.executable, str(tmp_path / "script.py")],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=120,
        start_new_session=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert not ended.stderr
