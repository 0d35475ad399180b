"""Files that are whole or not there.

Every file is written beside its place, fsynced, then moved there by `os.replace`; every JSON file carries a
format version and a checksum of its content. Readers refuse what does not match, and name the file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from tentpole.errors import StateError, reading

T = TypeVar("T")
_CHECKSUM = re.compile(r'(?:, )?"checksum": "([0-9a-f]{64})"')
REMEDY = "Restore it from a copy, or delete it: what is missing is made anew."


def atomic_write(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that a reader sees the old content or the new, never a part.

    Raises OSError, with the file's name in it, where the disk does not take it.
    """
    make_folder(path.parent)
    beside = path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException as error:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # writing and syncing name none
        raise
    sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Make `folder`, and what is above it, so that a power cut does not take it away again."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write `content` with its checksum under the key "checksum". Floats are written exactly (repr)."""
    body = json.dumps(content, sort_keys=True)
    checksum = _checksum(body)
    text = json.dumps({**content, "checksum": checksum}, sort_keys=True)
    atomic_write(path, (text + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """The content written by `write_json`. Raises StateError, naming the file, where it is not that."""
    with reading(path, "JSON", error=StateError, remedy=REMEDY):
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
    stored = content.pop("checksum", None) if isinstance(content, dict) else None
    if not _as_written(text, stored) and stored != _checksum(json.dumps(content, sort_keys=True)):
        raise StateError(f"{path}: damaged, its checksum does not match. {REMEDY}")
    return dict(content)


def _as_written(text: str, stored: object) -> bool:
    """Whether `text` is what `write_json` writes: less its checksum it is what that was taken of."""
    for match in _CHECKSUM.finditer(text) if isinstance(stored, str) else ():
        if match[1] == stored:
            begin, end = match.span()
            if text[begin] == '"' and text.startswith(", ", end):  # the first key of all
                end += 2
            return _checksum(text[:begin] + text[end:].removesuffix("\n")) == stored
    return False


def _checksum(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()


def read_as(path: Path, build: Callable[[dict[str, Any]], T]) -> T:
    """What `build` makes of the content written by `write_json`.

    Raises
    ------
    StateError
        Where the file is not that, or `build` misses something in it: with the file, and the key that it lacks.
    """
    content = read_json(path)
    with reading(path, error=StateError, remedy=REMEDY):
        return build(content)
