"""The training process, from the side of the program that asks."""

from __future__ import annotations

import atexit
import sys
import time
from collections.abc import Collection
from contextlib import suppress
from multiprocessing import Pipe
from typing import Any

from tentpole.execution.starting import imports_ahead, new_process
from tentpole.training.jobs import TrainingError
from tentpole.training.server import PATIENCE_S, serve

STOP_S = PATIENCE_S + 0.3
"""From the wish to stop to the end of what trains."""
_server: Server | None = None


class ServerLost(TrainingError):
    """The training process ended by itself, or was killed."""


class Server:
    """The process of `tentpole.training.server`, from the side that asks."""

    def __init__(self) -> None:
        self._connection, theirs = Pipe()
        self._process = new_process(serve, (theirs,), threads=1)
        theirs.close()
        self._begun = set[int]()

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.is_alive()

    def send(self, order: dict[str, Any]) -> None:
        """Hand over an order. Raises ServerLost where the process has ended."""
        try:
            self._connection.send(order)
        except ConnectionError:
            raise self._gone() from None

    def answers(self, timeout_s: float) -> list[dict[str, Any]]:
        """What has ended since the last call, after waiting at most `timeout_s` for it."""
        answers: list[dict[str, Any]] = []
        try:
            while self._connection.poll(0.0 if answers else timeout_s):
                answers.append(self._connection.recv())
        except (EOFError, ConnectionError):
            if not answers:
                raise self._gone() from None
        self._begun |= {answer["begun"] for answer in answers if "begun" in answer}
        ended = [answer for answer in answers if "id" in answer]
        self._begun -= {answer["id"] for answer in ended}
        return ended

    def stop(self, numbers: Collection[int]) -> None:
        """End these orders within STOP_S: what trains writes a checkpoint, if it can do so in a moment.

        Where an order has not begun, because the process still imports what it needs, the process ends with it.
        """
        until, running = time.monotonic() + STOP_S, set(numbers)
        with suppress(ServerLost):
            for number in running:
                self.send({"kill": number})
            running -= {answer["id"] for answer in self.answers(timeout_s=0.0)}
            while running and running <= self._begun and time.monotonic() < until:
                running -= {answer["id"] for answer in self.answers(timeout_s=0.1)}
            if running:
                self.close(at_once=True)

    def _gone(self) -> ServerLost:
        return ServerLost(
            f"the training process ended with status {self._status()}. Run the same again to go on. If it ends at once "
            f"each time: does `{sys.executable} -c 'import tentpole.training.stacked'` end without an error?"
        )

    def _status(self) -> int | None:
        self._process.join(timeout=5)
        return self._process.exitcode

    def close(self, *, at_once: bool = False) -> None:
        """End the process and what it still runs; `at_once` without asking."""
        if at_once:
            self._process.kill()
        else:
            self._connection.close()
        self._process.join(timeout=5)
        if self._process.is_alive():
            self._process.kill()


def the_server() -> Server:
    """The program's training process, started if need be."""
    global _server
    if _server is None or not _server.alive:
        _server = Server()
        atexit.register(_server.close)
    return _server


def prepare() -> None:
    """Start the training process, so that its seconds of imports pass unnoticed, where no other imports for it."""
    if not imports_ahead():
        the_server()
