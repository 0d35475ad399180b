"""Processes killed at random instants, two starts at once, folders that move, modules in the current folder."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from attack_bench import V1, Box, Case, Command, alive, below, tentpole
from attack_inputs import BASE, copper, put, xyz
from attack_inputs import campaign as start_of

MODULES = ("mace", "ase", "selectors", "numbers", "tokenize", "e3nn", "torch", "h5py", "tentpole", "heapq")
SLOW = """\
import os, time
from ase.calculators.lj import LennardJones
from tentpole.records import structure_hash
from pathlib import Path

class Slow(LennardJones):
    def calculate(self, atoms=None, properties=None, system_changes=()):
        name = structure_hash(atoms)
        if any(Path({root!r}).glob(f"**/labels/{{name[:2]}}/{{name}}-*.json")):
            with open({log!r}, "a") as file:
                file.write(name + "\\n")
        time.sleep(0.15)
        super().calculate(atoms, properties, system_changes)
"""
TINY = ("channels=4", "max_L=0", "max_ell=1", "correlation=1", "r_max=3.5", "updates=6")
LONG_S = 300.0
"""For what comes soon, on a busy machine too."""
calm: dict[str, Any] = {}
"""What came of a piece of work that nobody disturbed."""


def shaken(count: int, seed: int = 0) -> list[Any]:
    """Copper, each frame rattled."""
    frames = []
    for k in range(count):
        atoms = copper()
        atoms.rattle(0.05, seed=100 * seed + k)
        frames.append(atoms)
    return frames


def labelled(count: int) -> str:
    """Frames to train on, with made-up labels."""
    frames = shaken(count)
    for k, atoms in enumerate(frames):
        atoms.info["REF_energy"] = -9.0 + 0.01 * k
        atoms.arrays["REF_forces"] = np.random.default_rng(k).normal(0, 0.1, (len(atoms), 3))
    return xyz(*frames)


def slow(box: Box) -> None:
    """A reference that takes its time, and notes each structure that has a label already: slow.toml."""
    box.file("lib/attack_slow.py", SLOW.format(root=str(box.root), log=str(box.out("twice.log"))))
    box.file("slow.toml", 'calculator = "attack_slow:Slow"\ncode_version = "1"\nproperties = ["energy", "forces"]\n'
             "[parameters]\nepsilon = 0.4\nsigma = 2.3\n")  # fmt: skip


def with_library(box: Box) -> None:
    """The module of slow.toml can be imported, here and in workers."""
    place = str(box.work / "lib")
    sys.path.insert(0, place)
    os.environ["PYTHONPATH"] = os.pathsep.join([place, os.environ.get("PYTHONPATH", "")])


def beside(work: Callable[[int], None]) -> int:
    """A process that does `work(pid of this one)` while this one goes on."""
    driver = os.getpid()
    pid = os.fork()
    if not pid:
        try:
            work(driver)
        finally:
            os._exit(0)
    return pid


def victims(driver: int) -> list[int]:
    """The processes of a driver, but this one and Python's own tracker of resources."""
    found = []
    for pid in below(driver):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if pid != os.getpid() and b"resource_tracker" not in command and alive(pid):
            found.append(pid)
    return found


def wait_until(condition: Callable[[], Any], seconds: float) -> bool:
    """Whether it came true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.01)
    return False


def killer(seed: int, span_s: float, log: Path, so_far: Callable[[], bool] = lambda: True) -> Callable[[int], None]:
    """Kills one worker, or all at once, some time after the first is there and the work has come `so_far`."""

    def work(driver: int) -> None:
        rng = random.Random(seed)
        if not wait_until(lambda: (victims(driver) and so_far()) or os.getppid() != driver, LONG_S):
            return
        time.sleep(rng.uniform(0.0, span_s))
        wait_until(lambda: victims(driver) or os.getppid() != driver, LONG_S)
        found = victims(driver)
        for pid in found if rng.random() < 0.3 else found[:1] if rng.random() < 0.5 else found[-1:]:
            os.kill(pid, signal.SIGKILL)
            with log.open("a") as file:
                file.write(f"{pid}\n")

    return work


def labelled_in(folder: str) -> bool:
    """Whether the first label is there."""
    return any(Path(folder).glob("labels/*/*.json"))


def remove(folder: Path) -> None:
    """Remove it as a user would: again where a file that came meanwhile kept it there."""
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=True)


def twice(box: Box) -> str:
    """Labels that were computed though they were there."""
    log = box.work / "twice.log"
    return f"twice: {log.read_text().split()}" if log.exists() else ""


def _labelling(number: int, short: bool) -> Case:
    def prepare(box: Box) -> Command:
        slow(box)
        box.file("frames.xyz", xyz(*shaken(10, number)))
        box.out("o.xyz")
        labels, log = box.out("o-labels"), box.out("kills.log")

        def so_far() -> bool:
            return len(list(labels.glob("**/*.json"))) >= number % 10

        def run() -> int:
            with_library(box)
            beside(killer(number, 0.3, log, so_far))
            return tentpole("label", "frames.xyz", "--reference", "slow.toml", "--out", "o.xyz", "--workers", "2")

        return run

    def after(box: Box) -> str:
        from ase.io import read

        path = box.work / "o.xyz"
        count = len(read(path, ":")) if path.exists() else 0
        return twice(box) or ("" if count == 10 else f"lost: {10 - count} of 10 labels")

    return Case("kills", f"a labelling worker, instant {number}", prepare, "taken", after=after, short=short,
                limit_s=120.0)  # fmt: skip


def _exploring(folder: Path) -> str:
    """Explore the open round of a folder; what was chosen, in words."""
    from tentpole import Campaign

    with Campaign(folder) as live:
        live.ask()
    return digest(folder / "rounds" / "r002" / "batch.json")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "nothing"


def _md(number: int, short: bool) -> Case:
    def folder_of(box: Box) -> Path:
        folder = box.campaign(of="exploring")
        shutil.copytree(V1 / "halfway" / "models", folder / "models", dirs_exist_ok=True)
        return folder

    def prepare(box: Box) -> Command:
        folder, log = folder_of(box), box.out("kills.log")
        if "md" not in calm:
            undisturbed = Box(box.root / "calm")
            undisturbed.work.mkdir(parents=True)
            calm["md"] = in_a_child(lambda: _exploring(folder_of(undisturbed)))
            shutil.rmtree(undisturbed.root)

        def run() -> int:
            beside(killer(number, 7.0, log))
            return 0 if _exploring(folder) != "nothing" else 3

        return run

    def after(box: Box) -> str:
        found = digest(box.work / "D" / "rounds" / "r002" / "batch.json")
        return "" if found == calm["md"] else "lost: another batch than undisturbed"

    return Case("kills", f"an MD worker, instant {number}", prepare, "taken", after=after, short=short, limit_s=120.0)


def _train_words() -> list[str]:
    words = ["train", "known.xyz", "--out", "made", "--members", "2", "--workers", "2"]
    return [*words, *(word for one in TINY for word in ("--set", one))]


def _made(folder: Path) -> str:
    files = sorted(folder.glob("member-*.safetensors"))
    return " ".join(digest(file) for file in files) if len(files) == 2 else "nothing"


def _training(number: int, short: bool) -> Case:
    def prepare(box: Box) -> Command:
        box.file("known.xyz", labelled(10))
        made, log = box.out("made"), box.out("kills.log")
        if "training" not in calm:
            undisturbed = box.root / "calm"
            undisturbed.mkdir()
            shutil.copy(box.work / "known.xyz", undisturbed)

            def train() -> str:
                os.chdir(undisturbed)
                tentpole(*_train_words())
                return _made(undisturbed / "made")

            calm["training"] = in_a_child(train)
            shutil.rmtree(undisturbed)

        def run() -> int:
            beside(killer(number, 8.0, log))
            return tentpole(*_train_words())

        def after_run() -> int:
            status = run()
            return status if status else int(not made.exists())

        return after_run

    def after(box: Box) -> str:
        return "" if _made(box.work / "made") == calm["training"] else "lost: other members than undisturbed"

    return Case("kills", f"a training process, instant {number}", prepare, "taken", after=after, short=short,
                limit_s=180.0)  # fmt: skip


def in_a_child(work: Callable[[], str]) -> str:
    """What `work` gives, done in a fork that this process waits for, quietly."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, 1)
            os.dup2(null, 2)
            os.write(writer, work().encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        said = file.read().decode()
    os.waitpid(pid, 0)
    return said


def _orphans() -> Iterator[Case]:
    """Drivers killed by force: their workers end by themselves."""

    def case(name: str, words: Callable[[Box], list[str]], short: bool = False) -> Case:
        def prepare(box: Box) -> Command:
            given = words(box)

            def run() -> int:
                pid = os.fork()
                if not pid:
                    os.setsid()
                    with_library(box)
                    os._exit(tentpole(*given))
                if not wait_until(lambda: len(victims(pid)) >= 1 or not alive(pid), LONG_S) or not alive(pid):
                    print("no worker came")
                    return 3
                time.sleep(1.5)
                found = victims(pid)
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                wait_until(lambda: not any(map(alive, found)), 60)
                left = [one for one in found if alive(one)]
                print(f"left: {left}", *(Path(f"/proc/{one}/cmdline").read_bytes() for one in left))
                for one in left:
                    os.kill(one, signal.SIGKILL)
                return 3 if left else 0

            return run

        return Case("orphans", name, prepare, "taken", short=short)

    def label(box: Box) -> list[str]:
        slow(box)
        box.file("frames.xyz", xyz(*shaken(60)))
        box.out("o-labels")
        box.out("o.xyz")  # where the machine is slow, the labels may be done before the kill
        return ["label", "frames.xyz", "--reference", "slow.toml", "--out", "o.xyz", "--workers", "2"]

    def train(box: Box) -> list[str]:
        box.file("known.xyz", labelled(10))
        box.out("made")
        return [word.replace("updates=6", "updates=5000") for word in _train_words()]

    def pool(box: Box) -> list[str]:
        from attack_pools import rows, text

        box.file("p.csv", text(rows(200)))
        return ["pool", "run", "p.csv", "--out", str(box.out("O")), "--workers", "2", "--seeds", "400"]

    yield case("of label", label, short=True)
    yield case("of train", train)
    yield case("of pool run", pool)
    yield case("of qbc", lambda box: study(box, 4000))


def study(box: Box, updates: int) -> list[str]:
    """A query-by-committee study, as small as it can be."""
    box.file("known.xyz", labelled(30))
    box.file("study.toml", f"""
data = "known.xyz"
initial = 5
test = 5
valid = 3
batch = 3
maximum = 8
rules = {{random = {{}}, uncertainty = {{}}}}
seeds = [0]
members = 2
cutoff = 4.0
[training]
channels = 4
max_L = 0
max_ell = 1
correlation = 1
r_max = 3.5
updates = {updates}
""")  # fmt: skip
    box.out("S")
    return ["qbc", "study.toml", "--dir", "S", "--parallel", "1"]


def _races() -> Iterator[Case]:  # noqa: C901 - one small function per case
    """Two at once on one folder: one works, the other is told who."""

    def hold(folder: Path, gate: Path) -> int:
        """Open the campaign; who has it keeps it until the other was refused."""
        from tentpole import Campaign
        from tentpole.errors import StateError

        told = gate.with_name("told")
        wait_until(gate.exists, LONG_S)
        try:
            with Campaign(folder):
                return 0 if wait_until(told.exists, LONG_S) else 3
        except StateError as error:
            print(f"error: {error}")
            told.touch()
            return 2

    def both(one: Callable[[], int], other: Callable[[], int], gate: Path) -> int:
        pid = os.fork()
        if not pid:
            status = 3
            try:
                status = one()
            finally:
                sys.stdout.flush()
                os._exit(status)
        gate.touch()
        status = other()
        found = sorted((status, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])))
        print(f"statuses {found}")
        return 0 if found == [0, 2] else 3

    def campaigns(number: int) -> Case:
        def prepare(box: Box) -> Command:
            folder, gate = box.campaign(), box.out("gate")
            box.out("told")
            return lambda: both(lambda: hold(folder, gate), lambda: hold(folder, gate), gate)

        return Case("races", f"two campaigns, try {number}", prepare, "taken", ("pid",), short=number == 0)

    def local_flock(box: Box) -> Command:
        """Two machines that share a disk, and each has a flock of its own."""
        folder, gate, told = box.campaign(), box.out("gate"), box.out("told")

        def run() -> int:
            import fcntl

            fcntl.flock = lambda *_: None  # type: ignore[assignment]
            bad = 0
            for _ in range(8):
                for file in (gate, told):
                    file.unlink(missing_ok=True)
                results = both(lambda: elsewhere("one"), lambda: elsewhere("two"), gate)
                bad += results != 0
                (folder / "lock").unlink(missing_ok=True)
            return 3 if bad else 0

        def elsewhere(host: str) -> int:
            socket.gethostname = lambda: host  # type: ignore[assignment]
            return hold(folder, gate)

        return run

    def commands(name: str, words: Callable[[Box], list[str]]) -> Case:
        def prepare(box: Box) -> Command:
            given, gate = words(box), box.out("gate")

            def start() -> int:
                wait_until(gate.exists, LONG_S)
                with_library(box)
                return tentpole(*given)

            return lambda: both(start, start, gate)

        return Case("races", name, prepare, "taken", ("pid",), after=twice, limit_s=120.0)

    def label(box: Box) -> list[str]:
        slow(box)
        box.file("frames.xyz", xyz(*shaken(12)))
        box.out("o-labels")
        box.out("o.xyz")
        return ["label", "frames.xyz", "--reference", "slow.toml", "--out", "o.xyz", "--workers", "1"]

    def train(box: Box) -> list[str]:
        box.file("known.xyz", labelled(10))
        box.out("made")
        return _train_words()

    def pool(box: Box) -> list[str]:
        from attack_pools import rows, text

        box.file("p.csv", text(rows(200)))
        return ["pool", "run", "p.csv", "--out", str(box.out("O")), "--workers", "1", "--seeds", "3"]

    for number in range(10):
        yield campaigns(number)
    yield Case("races", "two machines, flock local to each", local_flock, "taken", limit_s=120.0)
    yield commands("two of label", label)
    yield commands("two of train", train)
    yield commands("two of pool run", pool)
    yield commands("two of qbc", lambda box: study(box, 8))


def _moves() -> Iterator[Case]:
    """The folder goes elsewhere, or away, while a driver works in it."""

    def case(name: str, go: Callable[[Path], object], again: bool) -> Case:
        def prepare(box: Box) -> Command:
            slow(box)
            content = put(put(BASE, "reference", "slow.toml"), "initial.count", 20)
            words = start_of(box, content)
            assert not callable(words)
            box.out("E")

            def mover(driver: int) -> None:
                if wait_until(lambda: labelled_in("D") or os.getppid() != driver, LONG_S) and labelled_in("D"):
                    go(Path("D"))

            def run() -> int:
                with_library(box)
                beside(mover)
                status = tentpole(*words)
                if Path("D").exists():
                    print(f"D is there again: {sorted(map(str, Path('D').rglob('*')))[:5]}")
                    return 0
                return tentpole("status", "E") and 0 if again and status else status

            return run

        def after(box: Box) -> str:
            there = (box.work / "D").exists()
            return twice(box) or ("outside: the folder was made again at the old place" if there else "")

        return Case("moves", name, prepare, "told", after=after, limit_s=90.0, short=False)

    yield case("the folder is renamed during labels", lambda path: path.rename("E"), True)
    yield case("the folder is removed during labels", remove, False)

    def project(box: Box) -> Command:
        """campaign.toml, reference and folder move together."""
        box.file("home/mine.toml", 'calculator = "tentpole.labeling.mock:Mock"\nproperties = ["energy", "forces"]\n')
        box.file("home/cu.xyz", xyz(copper()))
        import tomli_w

        box.file("home/c.toml", tomli_w.dumps(put(BASE, "reference", "mine.toml")))
        box.out("home")
        box.out("away")

        def run() -> int:
            from attack_bench import stop_once_open

            stop_once_open()
            tentpole("run", "home/c.toml", "--dir", "home/D")
            Path("home").rename("away")
            return tentpole("run", "away/c.toml", "--dir", "away/D")

        return run

    yield Case("moves", "a whole project with a reference of its own", project, "taken", short=True)

    def without(box: Box) -> Command:
        """The user's reference file is gone; the folder is whole."""
        words = project(box)
        assert callable(words)

        def run() -> int:
            words()
            Path("away/mine.toml").unlink()
            return tentpole("run", "away/D")

        return run

    yield Case("moves", "the reference's file is gone", without, "taken")


def _imports() -> Iterator[Case]:
    """Files in the current folder that are called like modules: never run."""

    def case(
        name: str, words: Callable[[Box], Command], modules: tuple[str, ...] = MODULES, short: bool = False
    ) -> Case:
        def prepare(box: Box) -> Command:
            given = words(box)
            marker = box.out("pwned")
            for module in modules:
                box.file(f"{module}.py", f"open({str(marker)!r}, 'a').write(__name__ + ' ')\nraise SystemExit(9)\n")
            return given

        def after(box: Box) -> str:
            marker = box.work / "pwned"
            return f"taken: {marker.read_text()}was run from the current folder" if marker.exists() else ""

        return Case("imports", name, prepare, "taken", after=after, short=short, limit_s=120.0)

    def label(box: Box) -> Command:
        box.file("frames.xyz", xyz(*shaken(2)))
        box.out("o.xyz")
        box.out("o-labels")
        return ["label", "frames.xyz", "--reference", "mock", "--out", "o.xyz", "--workers", "1"]

    def train(box: Box) -> Command:
        box.file("known.xyz", labelled(10))
        box.out("made")
        return _train_words()

    def pool(box: Box) -> Command:
        from attack_pools import rows, run, text

        words = run("p.csv", text(rows()))(box)
        assert not callable(words)
        return [*words[:-1], "2"]

    yield case("label", label, short=True)
    yield case("label beside selectors.py alone", label, ("selectors",))
    yield case("train", train)
    yield case("train beside mace.py alone", train, ("mace",))
    yield case("run", lambda box: start_of(box, BASE))
    yield case("pool run", pool)
    yield case("qbc", lambda box: study(box, 8))


def cases(kills: int) -> Iterator[Case]:
    """All of them, `kills` kills of each kind of worker; the short form has the first labelling kill."""
    for number in range(kills):
        yield _labelling(number, number == 0)
    for number in range(kills):
        yield _md(number, False)
    for number in range(kills):
        yield _training(number, False)
    yield from _orphans()
    yield from _races()
    yield from _moves()
    yield from _imports()
