"""What torture.py puts into every process of a campaign, by PYTHONPATH: eyes on its writes, a hand on its clock.

Python's own audit events tell of each file that is opened to be written, renamed or removed, before it happens;
os.write and os.fsync, which have none, are wrapped. The environment says what to do:

    TORTURE_ROOT     the campaign's folder; without it nothing is done
    TORTURE_LABELS   file that gets the name of each label that is put in its place
    TORTURE_SEEN     file that gets each kind of write, once per process
    TORTURE_STOPS    folder of kinds of writes: whoever is about to do one takes it away and kills driver and self
    TORTURE_CLOCK    "S,T": after T seconds the clocks of this process say S seconds less
    TORTURE_FSIZE    largest file in bytes that a process may write
"""

import hashlib
import json
import os
import re
import resource
import signal
import sys
import time

ROOT = os.environ.get("TORTURE_ROOT", "")
LABEL = re.compile(r"/labels/../([0-9a-f]{32}-[0-9a-f]{16})\.json$")
_write, _fsync = os.write, os.fsync
_seen: set[str] = set()
_busy = False


def kind(op: str, path: str) -> str:
    """The kind of a write: what is done, and to which file but for its numbers."""
    name = os.path.relpath(path, ROOT)
    name = re.sub(r"^\.?(.*/)?scratch-\d+/.*", r"\1scratch-N/FILE", name)
    name = re.sub(r"labels/[0-9a-f]{2}\b", "labels/ab", name)
    name = re.sub(r"[0-9a-f]{32}-[0-9a-f]{16}", "LABEL", name)
    name = re.sub(r"\.[^./]+-\d+\.part$", ".part", name)
    name = re.sub(r"tmp-LABEL-[^/]*", "tmp-LABEL", name)
    return f"{op} {re.sub(r'[0-9]+', 'N', name)}"


def stop_name(what: str) -> str:
    """The file in TORTURE_STOPS that stands for a kind of write."""
    return hashlib.sha256(what.encode()).hexdigest()[:16]


def happens(op: str, path: object, folder: int = -1) -> None:
    """A write is about to happen."""
    global _busy
    if _busy or not isinstance(path, str | os.PathLike | bytes):
        return
    _busy = True
    try:
        name = os.fsdecode(path)
        if folder >= 0:
            name = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), name)
        name = os.path.abspath(name)
        if name == ROOT or name.startswith(ROOT + "/"):
            _note(kind(op, name), op, name)
    except OSError:
        pass
    finally:
        _busy = False


def _note(what: str, op: str, path: str) -> None:
    stops = os.environ.get("TORTURE_STOPS")
    if stops:
        try:
            os.unlink(os.path.join(stops, stop_name(what)))
        except OSError:
            pass
        else:
            _kill_all()
    seen = os.environ.get("TORTURE_SEEN")
    if seen and what not in _seen:
        _seen.add(what)
        _append(seen, what)
    labels, label = os.environ.get("TORTURE_LABELS"), LABEL.search(path)
    if labels and label and op == "put":
        _append(labels, label[1])


def _append(path: str, line: str) -> None:
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    _write(file, (line + "\n").encode())
    os.close(file)


def _kill_all() -> None:
    try:
        with open(os.path.join(ROOT, "lock")) as lock:
            driver = int(json.load(lock)["pid"])
        if driver != os.getpid():
            os.kill(driver, signal.SIGKILL)
    except (OSError, ValueError, KeyError):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


def _audit(event: str, given: tuple) -> None:
    if event == "open":
        if given[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            happens("open", given[0])
    elif event == "os.rename":
        happens("put", given[1], given[3])
    elif event == "os.mkdir":
        happens("mkdir", given[0], given[2])
    elif event in ("os.remove", "os.rmdir"):
        happens("remove", given[0], given[1])


def _of(descriptor: int) -> str | None:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return None


def _watched_write(descriptor: int, data: bytes) -> int:
    happens("write", _of(descriptor))
    return _write(descriptor, data)


def _watched_fsync(descriptor: int) -> None:
    happens("sync", _of(descriptor))
    _fsync(descriptor)


def _set_back(seconds: float, after: float) -> None:
    real, began = time.time, time.monotonic()
    usual = {name: getattr(time, name) for name in ("gmtime", "localtime")}

    def now() -> float:
        return real() - (seconds if time.monotonic() - began > after else 0.0)

    time.time = now
    time.time_ns = lambda: int(now() * 1e9)
    for name, function in usual.items():
        setattr(time, name, lambda at=None, of=function: of(now() if at is None else at))
    shown, told = time.strftime, time.ctime
    time.strftime = lambda form, at=None: shown(form, time.localtime() if at is None else at)
    time.ctime = lambda at=None: told(now() if at is None else at)


if ROOT:
    sys.addaudithook(_audit)
    os.write, os.fsync = _watched_write, _watched_fsync
    if "TORTURE_CLOCK" in os.environ:
        _set_back(*map(float, os.environ["TORTURE_CLOCK"].split(",")))
    if "TORTURE_FSIZE" in os.environ:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(os.environ["TORTURE_FSIZE"]),) * 2)
