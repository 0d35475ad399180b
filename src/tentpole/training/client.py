"""The training process, from the side of the program that asks."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tentpole.execution.worker import python_module
from tentpole.training.jobs import TrainingError

_server: Server | None = None


class ServerLost(TrainingError):
    """The training process ended by itself, or was killed."""


class Server:
    """The process of `tentpole.training.server`, from the side that asks."""

    def __init__(self) -> None:
        package = str(Path(__file__).parents[2])
        paths = [package, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
        self._process = subprocess.Popen(
            [*python_module("tentpole.training.server"), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        self._rest = b""

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def send(self, order: dict[str, Any]) -> None:
        """Hand over an order. Raises ServerLost where the process has ended."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(order, default=str).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._gone() from None

    def answers(self, timeout_s: float) -> list[dict[str, Any]]:
        """What has ended since the last call, after waiting at most `timeout_s` for it."""
        assert self._process.stdout is not None
        until = time.monotonic() + timeout_s
        while True:
            chunk = self._process.stdout.read() or b""
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            answers_read = [answer for answer in map(json.loads, lines) if "id" in answer]
            if answers_read or time.monotonic() > until:
                return answers_read
            if not self.alive:
                raise self._gone()
            time.sleep(0.02)

    def _gone(self) -> ServerLost:
        return ServerLost(
            f"the training process ended with status {self._process.poll()}. Run the same again to go on. If it "
            f"ends at once each time: does `{sys.executable} -m tentpole.training.server` start?"
        )

    def close(self, *, at_once: bool = False) -> None:
        """End the process and what it still runs; `at_once` without asking."""
        if at_once:
            self._process.kill()
        elif self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()


def the_server() -> Server:
    """The program's training process, started if need be."""
    global _server
    if _server is None or not _server.alive:
        _server = Server()
        atexit.register(_server.close)
    return _server


def prepare() -> None:
    """Start the training process in the background, so that its seconds of imports pass unnoticed."""
    the_server()
