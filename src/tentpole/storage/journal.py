"""The campaign's journal: append-only JSON lines, each with its checksum, and fsynced.

A line that a power cut tore is the last one: readers drop it, and the next append starts on a clean line.
A bad line anywhere else means that the file was damaged, and is refused with its number.
"""

from __future__ import annotations

import errno
import json
import os
import time
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any

from tentpole.errors import StateError

VERSION = 1
ECHO_S = 0.1
"""How long the line of a fact that a file of its own keeps too may stay unsynced, while others follow."""


def read(path: Path) -> list[dict[str, Any]]:
    """All events, oldest first; [] where there is no journal. Raises StateError for a damaged line."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    events = []
    for number, line in enumerate(lines, start=1):
        event = _parse(line)
        if event is not None:
            events.append(event)
        elif line and number < len(lines):  # a whole line, ended by a newline, and not what was written
            raise StateError(
                f"{path}, line {number}: damaged. Restore the journal from a copy, or delete this line: "
                "labels, snapshots and models are files of their own and are not lost."
            )
    return events


class Journal:
    """Appends events. `elapsed_s` in each is monotonic time since this driver started: clocks may jump."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start = self._synced = time.monotonic()
        path.parent.mkdir(parents=True, exist_ok=True)
        _mend_tail(path)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def append(self, event: str, *, echo: bool = False, **facts: Any) -> None:
        """Write one event and make it durable before returning. Raises OSError, the journal as it was before,
        where the disk does not take it.

        echo : of a fact that a synced file of its own keeps too, as a label's does: lines that come thick and fast
        are then synced together, and a power cut (no kill) can cost those of the last `ECHO_S`.
        """
        content = {
            "v": VERSION,
            "event": event,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "elapsed_s": round(time.monotonic() - self._start, 3),
            **facts,
        }
        line, end = _format(content), os.fstat(self._descriptor).st_size
        try:
            if os.write(self._descriptor, line) < len(line):  # the last bytes of a disk
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if not echo or time.monotonic() - self._synced >= ECHO_S:
                os.fsync(self._descriptor)
                self._synced = time.monotonic()
        except OSError as error:
            os.ftruncate(self._descriptor, end)  # a torn line may only be the last one
            error.filename = error.filename or str(self._path)
            raise

    def close(self) -> None:
        os.close(self._descriptor)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _format(content: dict[str, Any]) -> bytes:
    body = json.dumps(content, separators=(",", ":"), allow_nan=True)
    return f"{zlib.crc32(body.encode()):08x} {body}\n".encode()


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        checksum, body = line.split(b" ", 1)
        if int(checksum, 16) != zlib.crc32(body):
            return None
        content = json.loads(body)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


def _mend_tail(path: Path) -> None:
    """End a last line that lacks only its newline; remove one that is torn. The next append starts clean."""
    if not path.exists():
        return
    data = path.read_bytes()
    if not data or data.endswith(b"\n"):
        return
    start = data.rfind(b"\n") + 1
    with path.open("r+b") as file:
        if _parse(data[start:]) is None:
            file.truncate(start)
        else:
            file.seek(len(data))
            file.write(b"\n")
        file.flush()
        os.fsync(file.fileno())
