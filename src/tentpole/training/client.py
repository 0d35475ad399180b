"""The training process, from the side of the program that asks."""

from __future__ import annotations

import atexit
import sys
from multiprocessing import Pipe
from typing import Any

from tentpole.execution.starting import await_imports, imports_ahead, new_process
from tentpole.training.jobs import TrainingError
from tentpole.training.server import serve

_server: Server | None = None


class ServerLost(TrainingError):
    """The training process ended by itself, or was killed."""


class Server:
    """The process of `tentpole.training.server`, from the side that asks."""

    def __init__(self) -> None:
        await_imports()
        self._connection, theirs = Pipe()
        self._process = new_process(serve, (theirs,), threads=1)
        theirs.close()

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
        return answers

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
