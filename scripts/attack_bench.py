"""What attack.py judges by: one case in a sandbox of its own, run in a fork of this process, and what is said of it."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[1]
V1 = TOP / "tests" / "data" / "v1"
FAULTS = ("tracebacks", "hangs", "taken", "refused", "unclear", "outside", "lost", "twice")
"""What must not be: raw exceptions; no end within the limit; wrong input taken without a word; right input refused; a
refusal that does not name what is wrong; files outside the folder; labels gone or changed; labels computed twice."""

Command = Sequence[str | Path] | Callable[[], int | None]


class Opened(SystemExit):
    """Everything that is asked before the first label is paid for was in order."""


@dataclass
class Box:
    """A sandbox: `work` is the current folder of the command, `home` its home, both below `root`."""

    root: Path
    may_write: list[Path] = field(default_factory=list)

    @property
    def work(self) -> Path:
        return self.root / "one" / "two" / "three"

    @property
    def home(self) -> Path:
        return self.root / "home"

    def file(self, name: str, content: str | bytes = "") -> Path:
        """A file in `work`, written."""
        path = self.work / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def campaign(self, name: str = "D", of: str = "finished") -> Path:
        """A copy of a frozen campaign folder, that commands may write in.

        The finished one was frozen with its last models alone. Others stand in for those before, which no case
        looks into: without them, the campaign would be trained again.
        """
        folder = self.work / name
        shutil.copytree(V1 / of, folder)
        if of == "finished":
            for number in range(3):
                shutil.copytree(V1 / "finished" / "models" / "r003", folder / "models" / f"r{number:03d}")
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        return self.out(folder)

    def out(self, path: Path | str) -> Path:
        """A place that commands may write to."""
        self.may_write.append(self.work / path)
        return self.work / path


@dataclass(frozen=True)
class Case:
    """One attack. `prepare` lays the files and gives the command; `expect` says what is right.

    expect : "refused" (status 2 or 3 and a message with `names` in it), "taken" (status 0), or "told" (either, but
        neither a traceback nor silence for ever).
    opening : stop once a campaign is open: nothing that this case gets wrong may cost a label.
    weak : without root's right to read and write everything.
    """

    kind: str
    name: str
    prepare: Callable[[Box], Command]
    expect: str = "refused"
    names: tuple[str, ...] = ()
    opening: bool = False
    weak: bool = False
    environment: tuple[tuple[str, str], ...] = ()
    after: Callable[[Box], str] | None = None
    short: bool = False
    limit_s: float = 0.0

    @property
    def title(self) -> str:
        return f"{self.kind}: {self.name}"


@dataclass
class Found:
    """What a case came to: its faults, and the words they are judged by."""

    case: Case
    seconds: float
    status: int | None
    said: str
    faults: list[str]
    kills: int = 0


class Running:
    """A case under way in a child of this process, which has imported everything."""

    def __init__(self, case: Case, folder: Path, limit_s: float) -> None:
        self.case, self.box, self.began = case, Box(folder), time.monotonic()
        self.deadline = self.began + max(limit_s, case.limit_s)
        for place in (self.box.work, self.box.home, folder / "tmp"):
            place.mkdir(parents=True)
        command = case.prepare(self.box)
        self.before, self.labels = _seen(folder), _labels(folder)
        self.log = folder.with_suffix(".log")
        self.pid = os.fork()
        if not self.pid:
            _child(case, self.box, command, self.log)

    def ended(self) -> Found | None:
        """What it came to, once it ended or its time is over."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            return self._judged(os.waitstatus_to_exitcode(status))
        if time.monotonic() > self.deadline:
            os.kill(self.pid, signal.SIGABRT)  # faulthandler says where
            time.sleep(0.2)
            end_all(self.pid)
            os.waitpid(self.pid, 0)
            return self._judged(None)
        return None

    def _judged(self, status: int | None) -> Found:
        end_all(self.pid)
        said = self.log.read_text(errors="replace")
        faults = list(_faults(self.case, status, said))
        faults += [f"outside: {name}" for name in _outside(self.box, self.before)]
        faults += [f"lost: {name}" for name, content in self.labels.items() if _read(Path(name)) != content]
        if self.case.after is not None and (words := self.case.after(self.box)):
            faults.append(words)
        kills = self.box.work / "kills.log"
        killed = len(kills.read_text().splitlines()) if kills.exists() else 0
        _remove(self.box.root)
        self.log.unlink()
        return Found(self.case, time.monotonic() - self.began, status, said, faults, killed)


def _faults(case: Case, status: int | None, said: str) -> Iterator[str]:
    if status is None:
        yield "hangs"
        return
    if "Traceback" in said or "unexpected error" in said or status not in (0, 2, 3):
        yield f"tracebacks: status {status}, {_last(said)}"
        return
    if case.expect == "refused" and status == 0:
        yield "taken"
    if case.expect == "taken" and status != 0:
        yield f"refused: {_last(said)}"
    words = "".join(said.split()).lower()
    lacking = [name for name in case.names if "".join(name.split()).lower() not in words]
    if status != 0 and (lacking or len(words) < 10):
        yield f"unclear: does not name {', '.join(lacking) or 'anything'}: {_last(said)}"


def _last(said: str) -> str:
    """The line that says most: of an error, else the last one."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if "rror" in line.split(":")[0] and not line.startswith("Stopped")]
    whole = " ".join(lines[lines.index(errors[-1]) :]) if errors else (lines or ["nothing was said"])[-1]
    return whole[:300]


def run_all(cases: Sequence[Case], folder: Path, limit_s: float, jobs: int) -> Iterator[Found]:
    """What each case came to, as they end; `jobs` at a time."""
    waiting, running, number = list(cases), [], 0
    while waiting or running:
        while waiting and len(running) < jobs:
            number += 1
            running.append(Running(waiting.pop(0), folder / f"{number:04d}", limit_s))
        for one in list(running):
            found = one.ended()
            if found is not None:
                running.remove(one)
                yield found
        time.sleep(0.005)


def warm_up() -> None:
    """Import, once, what commands import: children begin with all of it."""
    import importlib

    modules = (
        "tentpole.cli", "tentpole.campaign.campaign", "tentpole.campaign.record", "tentpole.campaign.export",
        "tentpole.campaign.preflight", "tentpole.report", "tentpole.cli.files", "tentpole.cli.progress_bars",
        "tentpole.committee", "tentpole.exploration.scoring", "tentpole.training", "tentpole.execution.local",
        "tentpole.benchmarks.pool.runner", "tentpole.benchmarks.pool.page", "tentpole.benchmarks.qbc.config",
        "tentpole.benchmarks.qbc.study", "mace.modules", "ase.calculators.emt", "ase.calculators.lj", "ase.io.extxyz",
        "scipy.stats", "sklearn.cluster", "sklearn.ensemble", "pytest",
    )  # fmt: skip
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError as error:
            print(f"not imported beforehand: {error}", file=sys.stderr)
    from ase.build import bulk

    from tentpole.entropy import GOM

    GOM(5.0).fingerprints(bulk("Cu", cubic=True))


def _child(case: Case, box: Box, command: Command, log: Path) -> None:
    """Never returns."""
    status = 3
    try:
        os.setsid()
        descriptor = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        for number in (1, 2):
            os.dup2(descriptor, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        faulthandler.enable()
        os.chdir(box.work)
        os.environ.update({"HOME": str(box.home), "TMPDIR": str(box.root / "tmp")}, **dict(case.environment))
        if case.opening:
            stop_once_open()
        if case.weak:
            give_up_rights()
        status = _status_of(command)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _status_of(command: Command) -> int:
    """Of a command line, or of calls of the Python interface: errors made on purpose count as refusals."""
    from tentpole.errors import TentpoleError

    if not callable(command):
        return tentpole(*command)
    try:
        return command() or 0
    except TentpoleError as error:
        print(f"error: {error}")
        return 2


def tentpole(*words: str | Path) -> int:
    """The exit status of the command `tentpole`, run in this process."""
    from tentpole.cli.app import exit_status

    sys.argv = ["tentpole", *map(str, words)]
    try:
        return exit_status()
    except SystemExit as end:
        return int(end.code or 0)


def stop_once_open() -> None:
    """From here on campaigns end as soon as they are open."""
    from tentpole.campaign.campaign import Campaign

    def opened(self: Any) -> None:
        raise Opened(0)

    Campaign.run = opened  # type: ignore[method-assign,assignment]


def give_up_rights() -> None:
    """Read and write what the modes of files allow, though this is root (Linux: capset)."""
    if os.geteuid() != 0:
        return
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(header, data) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def below(pid: int) -> list[int]:
    """The processes that `pid` started, and those below them."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(path.parent.name))
    found, queue = [], [pid]
    while queue:
        some = children.get(queue.pop(), [])
        found += some
        queue += some
    return found


def alive(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def session(leader: int) -> list[int]:
    """The processes of the session that `leader` made, also where it is no more."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def end_all(pid: int) -> None:
    """Kill what a child of ours started, and itself. Its number is ours until it is waited for."""
    for one in [*below(pid), *session(pid)]:
        try:
            os.kill(one, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _seen(root: Path) -> dict[str, tuple[Any, ...]]:
    found = {}
    for path in root.rglob("*"):
        try:
            stat = path.lstat()
        except OSError:
            continue
        found[str(path)] = (stat.st_mode, stat.st_size, stat.st_mtime_ns) if not path.is_dir() else (stat.st_mode,)
    return found


def _outside(box: Box, before: dict[str, tuple[Any, ...]]) -> list[str]:
    """Files that came, went or changed where the command had no business."""
    allowed = [box.root / "tmp", box.home / ".cache", box.home / ".config", *box.may_write]
    after = _seen(box.root)
    names = [name for name in {*before, *after} if before.get(name) != after.get(name)]
    return sorted(
        name
        for name in names
        if not any(Path(name).is_relative_to(place) for place in allowed)
        and not any(place.is_relative_to(name) for place in allowed)  # a folder on the way there
    )[:5]


def _labels(root: Path) -> dict[str, bytes | None]:
    return {str(path): _read(path) for path in root.glob("**/labels/[0-9a-f][0-9a-f]/*-*.json")}


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _remove(root: Path) -> None:
    for path in root.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(root, ignore_errors=True)
