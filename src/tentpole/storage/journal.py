"""The campaign's journal: append-only JSON lines, each with its checksum, and fsynced.

A line that a power cut tore is the last one: readers drop it, and the next append starts on a clean line.
A bad line anywhere else means that the file was damaged, and is refused with its number.
"""

from __future__ import annotations

import errno
import json
import math
import os
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from tentpole.errors import StateError

VERSION = 1
REMEDY = "Restore the journal from a copy: labels, snapshots and models are files of their own and are not lost."
ECHO_S = 0.1
"""How long a line may stay unsynced whose fact is in a file of its own as well, while more are written."""


@dataclass(frozen=True, slots=True)
class Place:
    """The end of a line in a journal: bytes and lines up to it, and the CRC-32 of those bytes."""

    bytes: int = 0
    lines: int = 0
    crc32: int = 0


def events(path: Path) -> Iterator[dict[str, Any]]:
    """All events, oldest first, one at a time; none where there is no journal.

    Raises
    ------
    StateError
        For a damaged line, with its number, when it is reached.
    """
    return (event for event, _ in events_after(path, Place()))


def events_after(path: Path, place: Place) -> Iterator[tuple[dict[str, Any], Place]]:
    """The events after `place`, each with the place of its end; see `events`."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        file.seek(place.bytes)
        size, lines, crc32 = place.bytes, place.lines, place.crc32
        for line in file:
            size, lines, crc32 = size + len(line), lines + 1, zlib.crc32(line, crc32)
            event = _parse(line.removesuffix(b"\n"))
            if event is not None:
                yield event, Place(size, lines, crc32)
            elif line.endswith(b"\n") and line != b"\n":  # a whole line, and not what was written
                raise StateError(
                    f"{path}, line {lines}: damaged. Restore the journal from a copy, or delete this line: "
                    "labels, snapshots and models are files of their own and are not lost."
                )


def same_beginning(path: Path, place: Place) -> bool:
    """Whether the journal begins with the bytes that `place` was the end of."""
    left, crc32, last = place.bytes, 0, b"\n"
    with path.open("rb") as file:
        while left > 0 and (block := file.read(min(left, 1 << 20))):
            left, crc32, last = left - len(block), zlib.crc32(block, crc32), block[-1:]
    return left == 0 and crc32 == place.crc32 and last == b"\n"


def read(path: Path) -> list[dict[str, Any]]:
    """All events, oldest first, in a list: see `events`, which keeps none of them in memory."""
    return list(events(path))


class Journal:
    """Appends events. `elapsed_s` in each is monotonic time since this driver started: clocks may jump."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start = self._synced = time.monotonic()
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            raise StateError(
                f"{path}: is a symbolic link, which no Tentpole has made. Is this folder yours? Then put the journal "
                "itself there, and start again."
            )
        _mend_tail(path)
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o644)

    def append(self, event: str, *, echo: bool = False, **facts: Any) -> None:
        """Write one event and make it durable before returning.

        Raises OSError, the journal as it was before, where the disk does not take it.

        echo : the fact is in a synced file of its own as well, as a label is. Such lines may be synced together: a
        power cut (no kill) can cost those of the last `ECHO_S`.
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
        """No more events."""
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
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) and _is_event(content) else None


def _is_event(content: dict[str, Any]) -> bool:
    """Whether it has what every event has."""
    elapsed = content.get("elapsed_s")
    timed = isinstance(elapsed, int | float) and math.isfinite(elapsed)
    return timed and isinstance(content.get("event"), str) and isinstance(content.get("time"), str)


def _mend_tail(path: Path) -> None:
    """End a last line that lacks only its newline; remove one that is torn. The next append starts clean."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        start = _last_line(file)
        file.seek(start)
        line = file.read()
        if not line:
            return
        if _parse(line) is None:
            file.truncate(start)
        else:
            file.write(b"\n")
        file.flush()
        os.fsync(file.fileno())


def _last_line(file: BinaryIO) -> int:
    """Where the bytes after the last newline begin."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        begin = max(0, end - 65536)
        file.seek(begin)
        newline = file.read(end - begin).rfind(b"\n")
        if newline >= 0:
            return begin + newline + 1
        end = begin
    return 0
