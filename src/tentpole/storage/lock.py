"""One driver per campaign folder, also where the file system's own locks are missing or hold on one host only.

The lock is a file that is there while a driver works. It appears by a hard link, which one of any number of drivers on
any number of hosts can make, and it says whose it is: host, boot of that host, process, and a sign of life every few
seconds, the file's time. A lock whose process is no more is taken over at once on its own host. Processes of another
host cannot be looked up: such a lock stays until somebody who can look there deletes it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from tentpole.errors import StateError
from tentpole.execution.ownership import birth, processes, runs

LOCK_FILE = "lock"
BEAT_S = 15.0
"""Between two signs of life."""
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES)
_JUST_NOW_S = 5.0
_TRIES = 10


class Lock:
    """Holds `folder`/lock while a driver works there.

    Parameters
    ----------
    folder
        Made where it is not there.

    Raises
    ------
    StateError
        Where another driver holds it, or what lies in its place is no lock.
    OSError
        Where the disk does not take it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / LOCK_FILE
        folder.mkdir(parents=True, exist_ok=True)
        self._mine = folder / f".{LOCK_FILE}.{socket.gethostname()}-{os.getpid()}-{time.time_ns()}.part"
        try:
            with _one_at_a_time_here(folder):
                self._identity = self._acquire()
        except OSError as error:
            error.filename = str(self._path)  # its own file beside it is nobody's business
            raise
        finally:
            with suppress(OSError):  # a disk that takes nothing: there is nothing to remove
                self._mine.unlink()
        # open for as long as it is held: until then no other file can have its inode
        self._descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW)
        self._released = threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()

    @property
    def held(self) -> bool:
        """Whether the lock in the folder is still this one: it may have been deleted, or the folder moved."""
        return not self._released.is_set() and _identity(self._path) == self._identity

    def release(self) -> None:
        """Give the folder back."""
        if self.held:
            with suppress(OSError):
                self._path.unlink()
        if not self._released.is_set():
            self._released.set()
            os.close(self._descriptor)

    def _acquire(self) -> tuple[int, int]:
        """Make the lock file. The inode it has, by which it is known again."""
        _write_new(self._mine, json.dumps(_this_process()).encode())
        for _ in range(_TRIES):
            self._refuse_what_is_no_file()
            try:
                self._appear()
            except FileExistsError:
                self._remove_what_nobody_holds()
                continue
            identity = _identity(self._path)
            if identity is not None:
                return identity
        raise StateError(f"{self._folder}: {self._path} comes and goes: other drivers start here. Start again.")

    def _appear(self) -> None:
        try:
            os.link(self._mine, self._path)
        except FileExistsError:
            if self._mine.stat().st_nlink != 2:  # NFS: the link was made, and its answer lost
                raise
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            _write_new(self._path, self._mine.read_bytes())

    def _refuse_what_is_no_file(self) -> None:
        if self._path.is_symlink() or self._path.is_dir():
            kind = "a symbolic link" if self._path.is_symlink() else "a folder"
            raise StateError(
                f"{self._path}: is {kind}, which no Tentpole has made. Is this folder yours? Then delete it and start "
                "again."
            )

    def _remove_what_nobody_holds(self) -> None:
        """Remove the lock file where its driver is no more. Raises StateError where it may be at work."""
        before, owner, age = _identity(self._path), _read(self._path), _age(self._path)
        if not owner and age < _JUST_NOW_S:
            raise StateError(f"{self._folder}: another driver is just starting here. Wait for it, or stop it.")
        if owner and _works(self._path, owner, age):
            raise StateError(self._whose(owner, age))
        aside = self._mine.with_suffix(".old.part")
        with suppress(FileNotFoundError):  # its driver has just given it back
            self._path.rename(aside)
            if (_identity(aside), _read(aside)) != (
                before,
                owner,
            ):  # another driver was quicker: its lock
                with suppress(OSError):
                    os.link(aside, self._path)
            aside.unlink()

    def _whose(self, owner: dict[str, Any], age: float) -> str:
        since = owner.get("since", "?")
        who = f"host {owner.get('host', '?')}, pid {owner.get('pid', '?')}, since {since}"
        if owner.get("host") == socket.gethostname() and owner.get("boot", _boot()) == _boot():
            return f"{self._folder}: another driver works here: {who}. Wait for it, or stop it."
        return (
            f"{self._folder}: another driver works here, or died: {who}; its last sign of life is {age:.0f} s old. "
            "That is another machine, which cannot be asked from here: make sure that it has stopped, then delete "
            f"{self._path}"
        )

    def _beat(self) -> None:
        while not self._released.wait(BEAT_S):
            if self.held:
                with suppress(OSError):
                    os.utime(self._path)

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def owner(folder: Path) -> dict[str, object] | None:
    """Host, pid and start of the driver that holds `folder`, or of one that died there; None for nobody."""
    return _read(folder / LOCK_FILE) or None


def at_work(folder: Path) -> bool:
    """Whether the driver that holds `folder` is at work, as far as can be told from this host."""
    path = folder / LOCK_FILE
    owner = _read(path)
    return bool(owner) and _works(path, owner, _age(path)) and _age(path) < 4 * BEAT_S


def _this_process() -> dict[str, Any]:
    pid = os.getpid()
    now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    told = {"host": socket.gethostname(), "pid": pid, "birth": birth(pid), "boot": _boot(), "since": now}
    return told | ({"processes": own} if (own := processes()) else {})


def _works(path: Path, owner: dict[str, Any], age: float) -> bool:
    """Whether the driver that wrote this may be at work: on this host it is known, elsewhere it is not."""
    if owner.get("host") != socket.gethostname():
        return True
    if owner.get("boot", _boot()) != _boot():  # this host before it started anew, or another one of the same name
        return age < 4 * BEAT_S
    if owner.get("processes", "") != processes():  # a container beside this one, whose pids mean nothing here
        return age < 4 * BEAT_S
    if "birth" not in owner:  # of a Tentpole whose drivers held the kernel's lock on the file
        return _kernel_lock_is_held(path)
    pid, born = owner.get("pid"), owner["birth"]
    return isinstance(pid, int) and isinstance(born, str) and runs(pid, born)


def _kernel_lock_is_held(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no such locks here
        return False
    return False


def _boot() -> str:
    """Names the time since this host was started; "" where it has no such name."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _read(path: Path) -> dict[str, Any]:
    """What the lock file says; {} where it says nothing that a driver has written."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        with open(descriptor, encoding="utf-8") as file:  # noqa: PTH123 - a descriptor
            content = json.loads(file.read(4096))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) and "host" in content else {}


def _age(path: Path) -> float:
    """Seconds since the last sign of life, by this host's clock."""
    try:
        return abs(time.time() - path.lstat().st_mtime)  # its clock may be ahead
    except OSError:
        return 0.0


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _write_new(path: Path, data: bytes) -> None:
    """Raises FileExistsError where there is anything by that name, symbolic links too."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    try:
        os.write(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _one_at_a_time_here(folder: Path) -> Iterator[None]:
    """Drivers of one user on this host look at a folder's lock one after the other; each takes milliseconds.

    That file lies on this host's own disk, where locks work. Without it all is as said above, but for two drivers that
    find the lock of a dead one within the same instant.
    """
    status = folder.stat()
    name = f"tentpole-{os.getuid()}-{status.st_ino % 64}.lock"  # few, for they stay
    try:
        path = Path(tempfile.gettempdir()) / name
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError:
        yield
        return
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
