"""A training, or the process that trains, is killed: it is done again, a few times, before anybody is bothered."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Collection
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from support.processes import Process, until
from tentpole.training import client, committee
from tentpole.training.client import Server, ServerLost
from tentpole.training.jobs import TrainingError, TrainingJob


class Scripted:
    """A training process whose next answers are written down: a status, or "lost" for its own death."""

    def __init__(self, script: list[int | str], jobs: list[TrainingJob]) -> None:
        self.script, self.jobs = script, jobs
        self.sent: list[int] = []
        self.alive = True

    def send(self, order: dict[str, Any]) -> None:
        if "id" in order:
            self.sent.append(order["id"])

    def stop(self, numbers: Collection[int]) -> None:
        raise AssertionError(f"{numbers} still run")

    def answers(self, timeout_s: float) -> list[dict[str, Any]]:
        word = self.script.pop(0)
        if word == "lost":
            self.alive = False
            raise ServerLost("the training process ended with status -9")
        number = self.sent.pop(0)
        if word == 0:
            self.jobs[number].out.with_suffix(".json").write_text("{}")
        return [{"id": number, "status": word}]


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[int | str]], list[str]]:
    jobs = [
        TrainingJob(train=tmp_path, valid=tmp_path, folder=tmp_path, out=tmp_path / f"member-{k}", member=k, seed=k)
        for k in range(2)
    ]

    def run(script: list[int | str]) -> list[str]:
        def server() -> Scripted:
            return Scripted(script, jobs)

        monkeypatch.setattr(committee, "the_server", server)
        committee._run([[job] for job in jobs], [{"id": k} for k in range(2)], 1, lambda: None)
        return sorted(path.name for path in tmp_path.glob("*.json"))

    return run


@pytest.mark.parametrize(
    "script", [[0, 0], [-9, 0, 0], [0, -9, -9, 0], ["lost", 0, 0], [0, "lost", -9, "lost", 0]], ids=str
)
def test_what_was_killed_is_trained_again(train: Callable[..., list[str]], script: list[int | str]) -> None:
    assert train(script) == ["member-0.json", "member-1.json"]


@pytest.mark.parametrize(
    ("script", "words"),
    [([-9, -9, -9], "killed by signal 9"), ([0, 1], "ended with status 1"), (["lost"] * 3, "ended with status -9")],
    ids=str,
)
def test_what_fails_by_itself_or_each_time_ends_the_training(
    train: Callable[..., list[str]], script: list[int | str], words: str
) -> None:
    with pytest.raises(TrainingError, match=words):
        train(script)


class Quiet:
    """A process that says nothing by itself."""

    killed = False

    def is_alive(self) -> bool:
        return not self.killed

    def kill(self) -> None:
        self.killed = True

    def join(self, timeout: float) -> None:
        pass


def server_that_says(*words: dict[str, int]) -> tuple[Server, Connection]:
    server, (ours, theirs) = object.__new__(Server), Pipe()
    server._connection, server._process, server._begun = ours, Quiet(), set()
    for word in words:
        theirs.send(word)
    return server, theirs


def test_a_training_that_has_not_begun_is_stopped_with_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "STOP_S", 1e9)  # whoever waited would wait for ever
    server, _ = server_that_says({"begun": 0})
    server.stop({0, 1})
    assert server._process.killed


def test_a_training_that_writes_its_checkpoint_leaves_the_process_alive() -> None:
    server, theirs = server_that_says({"begun": 0}, {"begun": 1}, {"id": 1, "status": 143})
    assert [answer["id"] for answer in server.answers(0.0)] == [1]
    theirs.send({"id": 0, "status": 143})
    server.stop({0})
    assert not server._process.killed
    assert theirs.recv() == {"kill": 0}


def test_a_training_that_does_not_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "STOP_S", 0.01)
    server, _ = server_that_says({"begun": 0})
    server.stop({0})
    assert server._process.killed


PROGRAM = """
import sys, time
from tentpole.execution import starting
from tentpole.training.client import Server

if sys.argv[1] == "forked":
    starting.import_ahead("tentpole.training.server")
    starting._imported = True  # nothing to wait for: what it imports is small
print(Server()._process.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks at /proc")
@pytest.mark.parametrize("start", ["fresh", "forked"])
def test_the_training_process_does_not_outlive_the_one_that_started_it(start: str) -> None:
    with subprocess.Popen([sys.executable, "-c", PROGRAM, start], stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        server = Process(int(driver.stdout.readline()), "")
        assert server.lives
        driver.kill()
    assert until(lambda: not server.lives, 60)
