"""One driver per campaign folder."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from tentpole.errors import StateError

LOCK_FILE = "lock"


class Lock:
    """Holds `folder`/lock while a driver works there.

    The kernel's lock on the file ends with its process however that dies, so a crash on this machine
    leaves nothing to clean up, whatever process has that pid today. Another machine's lock cannot be asked: the
    host and pid in the file speak.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK_FILE
        folder.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise StateError(
                f"{folder}: another driver works here: {self._owner()}. Wait for it, or stop it."
            ) from None
        owner = _read(self._path)
        if owner and owner.get("host") != socket.gethostname():
            self._file.close()
            raise StateError(
                f"{folder}: another driver works here, or died: {self._owner()}. That is another machine, "
                f"which cannot be asked from here: make sure that it has stopped, then delete {self._path}"
            )
        owner = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.ctime()}
        try:
            os.ftruncate(self._file.fileno(), 0)
            os.write(self._file.fileno(), json.dumps(owner).encode())
        except OSError as error:  # a full disk
            self._file.close()
            error.filename = str(self._path)
            raise

    def release(self) -> None:
        """Give the folder back. A lock that names nobody is nobody's."""
        with suppress(OSError):
            os.ftruncate(self._file.fileno(), 0)
        self._file.close()

    def _owner(self) -> str:
        owner = _read(self._path)
        return f"host {owner.get('host', '?')}, pid {owner.get('pid', '?')}, since {owner.get('since', '?')}"

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def owner(folder: Path) -> dict[str, object] | None:
    """Host, pid and start of the driver that holds `folder`, or of one that died there; None for nobody."""
    return _read(folder / LOCK_FILE) or None


def _read(path: Path) -> dict[str, object]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError):
        return {}
