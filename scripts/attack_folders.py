"""Edited campaign folders: journal, labels, locks, rounds, models, permissions, and answers told by hand."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from attack_bench import V1, Box, Case, Command, tentpole

NAN, INF = float("nan"), float("inf")
Edit = Callable[[Path], object]
EXPLAIN = "r001-w00-000005"


def sealed(content: dict[str, Any]) -> str:
    """A JSON file with its checksum, as the project writes it."""
    body = json.dumps(content, sort_keys=True)
    return json.dumps({**content, "checksum": hashlib.sha256(body.encode()).hexdigest()}, sort_keys=True) + "\n"


def change(path: Path, **values: Any) -> None:
    """Set keys of a sealed file, or (None given as ...) take them away; the checksum fits afterwards."""
    content = json.loads(path.read_text())
    content.pop("checksum", None)
    content |= values
    path.write_text(sealed({key: value for key, value in content.items() if value is not ...}))


def event(**facts: Any) -> bytes:
    """A whole line of a journal."""
    body = json.dumps({"v": 1, "event": "note", "time": "2026-01-01T00:00:00Z", "elapsed_s": 0.0, **facts})
    return f"{zlib.crc32(body.encode()):08x} {body}\n".encode()


def labels(folder: Path) -> list[Path]:
    """The label files."""
    return sorted(folder.glob("labels/*/*-*.json"))


def edited(
    name: str, edit: Edit, commands: dict[str, str], names: tuple[str, ...] = (), *, of: str = "finished",
    short: bool = False, weak: bool = False, kind: str = "folders", opened: bool = False,
) -> Iterator[Case]:  # fmt: skip
    """A case per command: {"status": "refused", "export": "taken"}.

    opened : a driver of today works in the folder first, whose journal knows its settings and structures then.
    """
    for number, (command, expect) in enumerate(commands.items()):

        def prepare(box: Box, command: str = command) -> Command:
            folder = box.campaign(of=of)
            if not opened:
                edit(folder)
            more = {"export": ["--out", str(box.out("exported"))], "explain": [EXPLAIN],
                    "report": ["--out", str(box.out("page"))]}  # fmt: skip
            words = [command, "D", *more.get(command, [])]
            if not opened:
                return words

            def run() -> int:
                assert tentpole("run", folder) == 0
                edit(folder)
                return tentpole(*words)

            return run

        opening = of != "finished"
        yield Case(
            kind, f"{name} -> {command}", prepare, expect, names if expect == "refused" else (), opening,
            short=short and number == 0, weak=weak,
        )  # fmt: skip


def _journal() -> Iterator[Case]:
    def insert(line: bytes, at: int = 5) -> Edit:
        def edit(folder: Path) -> None:
            path = folder / "journal.jsonl"
            lines = path.read_bytes().splitlines(keepends=True)
            path.write_bytes(b"".join([*lines[:at], line, *lines[at:]]))

        return edit

    def journal(change: Callable[[bytes], bytes]) -> Edit:
        return lambda folder: (folder / "journal.jsonl").write_bytes(change((folder / "journal.jsonl").read_bytes()))

    def gone(folder: Path) -> None:
        (folder / "journal.jsonl").unlink()

    def directory(folder: Path) -> None:
        gone(folder)
        (folder / "journal.jsonl").mkdir()

    def linked(folder: Path) -> None:
        victim = folder.parent / "victim"
        victim.write_text("mine\n")
        gone(folder)
        (folder / "journal.jsonl").symlink_to(victim)

    both = {"status": "refused", "run": "refused"}
    fine = {"status": "taken", "run": "taken"}
    told = {"status": "told", "run": "told"}
    yield from edited("garbage in the journal", insert(b"garbage\n"), both, ("journal.jsonl", "line 6"), short=True)
    yield from edited("a torn last line", insert(b'0123 {"v":1', 10**6), fine)
    yield from edited("a journal with CRLF", journal(lambda b: b.replace(b"\n", b"\r\n")), told)
    yield from edited("no journal", gone, fine, short=True)
    yield from edited("an empty journal", journal(lambda b: b""), fine)
    yield from edited(
        "half of the journal, as from an older copy", journal(lambda b: b[: b.index(b"\n", 900) + 1]), fine
    )
    yield from edited("a journal that is a folder", directory, both, ("journal.jsonl",))
    yield from edited("a journal that is a link to elsewhere", linked, {"run": "told"})
    yield from edited("NUL bytes at the journal's end", journal(lambda b: b + b"\0" * 4096), fine)
    yield from edited("NUL bytes and a line end", journal(lambda b: b + b"\0" * 4096 + b"\n"), told)
    without = b'{"v":1,"time":"x"}'
    yield from edited("an event without a name", insert(f"{zlib.crc32(without):08x} ".encode() + without + b"\n"), told)
    yield from edited("an event of another kind", insert(event(event="dance")), fine)
    yield from edited("an event of version 99", insert(event(v=99)), told)
    yield from edited("elapsed_s = NaN", insert(event(elapsed_s=NAN)), told)
    yield from edited("elapsed_s is text", insert(event(elapsed_s="long")), told)
    yield from edited("a label event without a name", insert(event(event="label")), told)
    yield from edited("a label event of negative cost", insert(event(event="label", name="x", core_s=-1e9)), told)
    yield from edited("an event that is a list", insert(f"{zlib.crc32(b'[1]'):08x} [1]\n".encode()), told)
    deep = b"[" * 100_000
    yield from edited("an event nested deeply", insert(f"{zlib.crc32(deep):08x} ".encode() + deep + b"\n"), told)

    def drivers(box: Box) -> Command:
        """The journal lost after three drivers, one of which left what it had spent."""
        folder = box.campaign()

        def run() -> int:
            for _ in range(3):
                tentpole("run", folder)
            gone(folder)
            return max(tentpole("run", folder), tentpole("status", folder), tentpole("run", folder))

        return run

    yield Case("folders", "three drivers, then no journal", drivers, "taken", short=True)


def _labels() -> Iterator[Case]:
    def first(edit: Callable[[Path], object]) -> Edit:
        return lambda folder: edit(labels(folder)[0])

    def forces(value: Any) -> Edit:
        return first(lambda path: change(path, forces=value))

    def swap(folder: Path) -> None:
        one, two = (path.read_bytes() for path in labels(folder)[:2])
        labels(folder)[0].write_bytes(two)
        labels(folder)[1].write_bytes(one)

    def directory(path: Path) -> None:
        path.unlink()
        path.mkdir()

    def stray(name: str, text: str) -> Edit:
        def edit(folder: Path) -> None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)

        return edit

    def atoms(**values: Any) -> Edit:
        def edit(path: Path) -> None:
            content = json.loads(path.read_text())
            change(path, atoms=content["atoms"] | values)

        return first(edit)

    refused = {"export": "refused"}
    row = [[0.0, 0.0, 0.0]]
    table: list[tuple[str, Edit]] = [
        ("a label edited by hand", first(lambda p: p.write_text(p.read_text().replace('"energy": -', '"energy": -1')))),
        ("a label of half its bytes", first(lambda p: p.write_bytes(p.read_bytes()[:300]))),
        ("an empty label", first(lambda p: p.write_bytes(b""))),
        ("a label with NaN forces", forces([[NAN] * 3] * 4)),
        ("a label with infinite forces", forces([[INF] * 3] * 4)),
        ("a label with too many forces", forces(row * 5)),
        ("a label with one number more", forces([0.0] * 13)),
        ("a label with text for forces", forces("none")),
        ("a label without forces", forces(...)),
        ("a label with NaN energy", first(lambda p: change(p, energy=NAN))),
        ("a label with text for energy", first(lambda p: change(p, energy="low"))),
        ("a label with NaN stress", first(lambda p: change(p, stress=[NAN] * 6))),
        ("a label with seven numbers of stress", first(lambda p: change(p, stress=[0.0] * 7))),
        ("a label without atoms", first(lambda p: change(p, atoms=...))),
        ("a label of other atoms", atoms(positions=(np.eye(4, 3) * 2.4).tolist())),
        ("a label with an element that is none", atoms(numbers=[999] * 4)),
        ("a label with text for a cell", atoms(cell="big")),
        ("a label of version 2", first(lambda p: change(p, version=2))),
        ("a label of no version", first(lambda p: change(p, version=...))),
        ("two labels swapped", swap),
        ("a label copied over another", lambda f: shutil.copy(labels(f)[0], labels(f)[1])),
        ("a label that is a folder", first(directory)),
        ("a label nested deeply", first(lambda p: p.write_text("[" * 100_000))),
        ("a label not in UTF-8", first(lambda p: p.write_bytes(b"\xff\xfe{}"))),
        ("a label that is a list", first(lambda p: p.write_text("[]"))),
    ]
    for name, edit in table:
        yield from edited(name, edit, refused, (".json",), short=name in ("two labels swapped",))
    yield from edited("a label with NaN forces", forces([[NAN] * 3] * 4), {"run": "told", "status": "told"})
    yield from edited("a label without forces", forces(...), {"run": "told", "status": "told", "report": "told"})
    yield from edited("notes among the labels", stray("labels/ab/notes.json", "{}"),
                      {"status": "taken", "run": "taken", "export": "taken"})  # fmt: skip
    yield from edited("a text among the labels", stray("labels/README", "hello"), {"run": "taken"})
    yield from edited("all labels gone", lambda f: shutil.rmtree(f / "labels"), {"status": "told", "export": "refused"})
    yield from edited("labels/ is a file", lambda f: (shutil.rmtree(f / "labels"), (f / "labels").write_text("x")),
                      {"status": "told", "run": "told", "export": "refused"})  # fmt: skip


def _config() -> Iterator[Case]:
    def text(new: str | bytes | None) -> Edit:
        def edit(folder: Path) -> None:
            path = folder / "campaign.toml"
            path.unlink()
            if new is not None:
                path.write_bytes(new.encode() if isinstance(new, str) else new)

        return edit

    def replaced(old: str, new: str) -> Edit:
        def edit(folder: Path) -> None:
            path = folder / "campaign.toml"
            assert old in path.read_text()
            path.write_text(path.read_text().replace(old, new, 1))

        return edit

    def half(folder: Path) -> None:
        path = folder / "campaign.toml"
        path.write_bytes(path.read_bytes()[: len(path.read_bytes()) // 2 + 3])

    every = dict.fromkeys(("status", "run", "report", "explain"), "refused") | {"export": "told"}  # labels are whole
    two = {"status": "refused", "run": "refused"}
    name = ("campaign.toml",)
    yield from edited("garbage for campaign.toml", text("this is = = not toml"), every, name, short=True)
    yield from edited("bytes for campaign.toml", text(b"\xff\xfe\0"), two, name)
    yield from edited("half of campaign.toml", half, two, name)
    yield from edited("an empty campaign.toml", text(""), two)
    yield from edited("no campaign.toml", text(None), every, name)
    yield from edited("campaign.toml without a version", replaced("version = 1\n", ""), two)
    yield from edited("campaign.toml of version 9", replaced("version = 1\n", "version = 9\n"), two, ("9",))
    yield from edited("campaign.toml nested deeply", text("version = 1\nx = " + "[" * 5000), two, name)
    run = {"run": "refused"}
    yield from edited("another reference by hand", replaced('"mock"', '"lj"'), run, ("reference",), short=True)
    cutoff = replaced("cutoff = 5.0", "cutoff = 4.0")
    yield from edited("another cutoff by hand", cutoff, run, ("cutoff",), opened=True)
    yield from edited("another seed by hand", replaced("seed = 3", "seed = 4"), {"run": "told"})
    yield from edited("three members by hand", replaced("members = 2", "members = 3"), {"run": "told"})
    yield from edited("other temperatures by hand", replaced("600.0", "700.0"), {"run": "told"})
    yield from edited("a misspelt key by hand", replaced("members", "membres"), run, ("membres",))
    yield from edited("no structures", lambda f: shutil.rmtree(f / "structures"),
                      {"status": "taken", "run": "refused"}, ("structures",))  # fmt: skip

    def silver(folder: Path) -> None:
        path = folder / "structures" / "copper.extxyz"
        path.write_text(path.read_text().replace("Cu ", "Ag "))

    yield from edited("copper turned into silver", silver, run, ("copper",), opened=True)


def _rounds() -> Iterator[Case]:
    def at(name: str, edit: Callable[[Path], object]) -> Edit:
        return lambda folder: edit(folder / name)

    def text(new: str) -> Callable[[Path], object]:
        return lambda path: path.write_text(new)

    def stray(name: str, new: str = "") -> Edit:
        def edit(folder: Path) -> None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(new)

        return edit

    two = {"status": "refused", "run": "refused"}
    batch, done, answers = (f"rounds/r001/{name}.json" for name in ("batch", "done", "labels"))
    for file in ("verdict.json", batch, done, answers):
        yield from edited(f"garbage in {file}", at(file, text("garbage")), two, (Path(file).name,))
        yield from edited(f"{file} without its keys", at(file, text(sealed({"version": 1}))), two, (Path(file).name,),
                          short=file == batch)  # fmt: skip
        yield from edited(f"{file} is a list", at(file, text("[]")), two, (Path(file).name,))
    yield from edited("half of done.json", at(done, lambda p: p.write_bytes(p.read_bytes()[:20])), two, ("done.json",))
    yield from edited("a batch of version 9", at(batch, lambda p: change(p, version=9)), two, ("batch.json", "9"))
    yield from edited("a verdict of version 9", at("verdict.json", lambda p: change(p, version=9)), two, ("9",))
    yield from edited("a verdict of no kind", at("verdict.json", lambda p: change(p, kind="MAYBE")), two, ("MAYBE",))
    by_name = {"status": "told", "run": "refused"}  # status counts them
    yield from edited(
        "a name with ../ among the labels", at(answers, lambda p: change(p, accepted=["../x-y"])), by_name
    )
    yield from edited("a name of three parts", at(answers, lambda p: change(p, accepted=["a-b-c"])), by_name)
    yield from edited("names that are numbers", at(answers, lambda p: change(p, accepted=[1, 2])), by_name)
    nowhere = ["0" * 32 + "-338c1736005f57c9"]
    yield from edited("a label that is nowhere", at(answers, lambda p: change(p, accepted=nowhere)),
                      {"run": "told", "export": "refused"})  # fmt: skip
    for name, new in (("work/tmp-x", ""), ("work/tmp-a-b-c", ""), ("spent/done-x-y", "[]"), ("spent/done-x-y", '"a"'),
                      ("spent/done-x-y", '{"labels": -1e9}'), ("spent/tmp-foo", ""), ("spent/done-driver.7", "{}"),
                      ("spent/done-x-y", "not json"), ("rounds/notes.txt", "x"), ("rounds/r00x/batch.json", "{}"),
                      ("rounds/r999/notes", "x"), ("models/r00x/a", ""), ("models/notes", ""), ("walkers/x.h5", "x"),
                      ("snapshots/notes.h5", "x"), ("quarantine/notes", "x"), ("quarantine/x/reason.json", "{}"),
                      ("structures/notes", "x"), ("thesis.docx", "x")):  # fmt: skip
        expect = {"status": "taken", "run": "taken"}
        yield from edited(f"a stray {name} {new!r}", stray(name, new), expect, short=name == "work/tmp-x")

    def folder_for(name: str) -> Edit:
        def edit(folder: Path) -> None:
            path = folder / name
            if path.is_file():
                path.unlink()
            path.mkdir()

        return edit

    for name in ("verdict.json", batch, "campaign.toml", "snapshots/r001-w00.h5"):
        commands = {"explain": "refused"} if name.endswith("h5") else two
        yield from edited(f"{name} is a folder", folder_for(name), commands, (Path(name).name,))


def _locks() -> Iterator[Case]:
    def lock(text: str) -> Edit:
        return lambda folder: (folder / "lock").write_text(text)

    def directory(folder: Path) -> None:
        (folder / "lock").mkdir()

    def linked(folder: Path) -> None:
        (folder.parent / "victim").write_text("mine\n")
        (folder / "lock").symlink_to(folder.parent / "victim")

    for text in ("5", "[1, 2]", "null", '"abc"', "{", "\0" * 40, '{"host": 5}', "x" * 10**6):
        commands = {"status": "taken", "run": "told"}
        yield from edited(f"a lock that holds {text[:20]!r}", lock(text), commands, short=text == "5")
    elsewhere = json.dumps({"host": "another-machine", "pid": 1, "since": "today"})
    yield from edited("a lock of another machine", lock(elsewhere), {"status": "taken", "run": "refused"},
                      ("another-machine", "lock"))  # fmt: skip
    yield from edited("a lock that is a folder", directory, {"status": "taken", "run": "refused"}, ("lock",))
    yield from edited("a lock that is a link to elsewhere", linked, {"run": "told", "status": "taken"}, short=True)

    def no_flock(box: Box) -> Command:
        """A file system without flock: the truth, and a way out."""
        folder = box.campaign()

        def run() -> int:
            import errno
            import fcntl

            def fails(*_: object) -> None:
                raise OSError(errno.ENOSYS, "Function not implemented")

            fcntl.flock = fails  # type: ignore[assignment]
            return tentpole("run", folder)

        return run

    def untrue(box: Box) -> str:
        return ""

    yield Case("folders", "a disk without flock", no_flock, "taken", after=untrue)


def _shards() -> Iterator[Case]:
    shard = "snapshots/r001-w00.h5"

    def cut(folder: Path) -> None:
        path = folder / shard
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    def other(folder: Path) -> None:
        shutil.copy(folder / "snapshots" / "r002-w00.h5", folder / shard)

    name = ("r001-w00.h5",)
    yield from edited("a shard cut short", cut, {"explain": "refused", "status": "taken"}, name)
    yield from edited("an empty shard", lambda f: (f / shard).write_bytes(b""), {"explain": "refused"}, name)
    yield from edited("text for a shard", lambda f: (f / shard).write_text("x" * 5000), {"explain": "refused"}, name)
    yield from edited("no shard", lambda f: (f / shard).unlink(), {"explain": "refused"})
    yield from edited("another walker's shard", other, {"explain": "refused"}, ())


def _permissions() -> Iterator[Case]:
    def mode(name: str, bits: int) -> Edit:
        return lambda folder: (folder / name).chmod(bits)

    two = {"status": "refused", "run": "refused"}
    table: list[tuple[str, Edit, dict[str, str], tuple[str, ...]]] = [
        ("campaign.toml unreadable", mode("campaign.toml", 0), two, ("campaign.toml",)),
        ("journal unreadable", mode("journal.jsonl", 0), two, ("journal.jsonl",)),
        ("journal read-only", mode("journal.jsonl", 0o444), {"status": "taken", "run": "refused"}, ("journal.jsonl",)),
        ("a label unreadable", lambda f: labels(f)[0].chmod(0), {"export": "refused"}, (".json",)),
        ("labels/ closed", mode("labels", 0), {"status": "told", "export": "refused", "run": "told"}, ("labels",)),
        ("the folder read-only", mode(".", 0o555), {"status": "taken", "run": "refused", "explain": "taken"}, ("D",)),
        ("the folder closed", mode(".", 0), two, ("D",)),
        ("snapshots/ closed", mode("snapshots", 0), {"explain": "refused"}, ("snapshots",)),
        ("rounds/ closed", mode("rounds", 0), two, ("rounds",)),
        ("models/ closed", mode("models", 0), {"status": "taken", "export": "refused"}, ("models",)),
        ("the verdict unreadable", mode("verdict.json", 0), two, ("verdict.json",)),
    ]
    for name, edit, commands, names in table:
        yield from edited(name, edit, commands, names, weak=True, kind="permissions",
                          short=name == "journal read-only")  # fmt: skip


def _models() -> Iterator[Case]:  # noqa: C901 - one small function per case
    """score by a committee one member of which was changed; checksums fit unless said."""

    def case(name: str, edit: Callable[[Path, Path], object], expect: str = "refused", short: bool = False) -> Case:
        def prepare(box: Box) -> Command:
            from attack_inputs import copper, xyz

            folder = box.work / "models"
            shutil.copytree(V1 / "finished" / "models" / "r003", folder)
            box.file("good.xyz", xyz(copper()))
            edit(folder / "member-0.json", folder / "member-0.safetensors")
            return ["score", "good.xyz", "--models", "models", "--out", box.out("o.xyz")]

        return Case("models", name, prepare, expect, ("member-0",) if expect == "refused" else (), short=short)

    def weights(new: Callable[[bytes], bytes]) -> Callable[[Path, Path], object]:
        def edit(card: Path, file: Path) -> None:
            file.write_bytes(new(file.read_bytes()))
            change(card, sha256=hashlib.sha256(file.read_bytes()).hexdigest())

        return edit

    def tensors(new: Callable[[dict[str, Any]], object]) -> Callable[[Path, Path], object]:
        def edit(card: Path, file: Path) -> None:
            from safetensors.numpy import load_file, save_file

            content = load_file(file)
            new(content)
            save_file(content, file)
            change(card, sha256=hashlib.sha256(file.read_bytes()).hexdigest())

        return edit

    def hyper(**values: Any) -> Callable[[Path, Path], object]:
        def edit(card: Path, file: Path) -> None:
            change(card, hyperparameters=json.loads(card.read_text())["hyperparameters"] | values)

        return edit

    def card(**values: Any) -> Callable[[Path, Path], object]:
        return lambda path, file: change(path, **values)

    def header(text: bytes, length: int | None = None) -> Callable[[Path, Path], object]:
        return weights(lambda old: (len(text) if length is None else length).to_bytes(8, "little") + text + b"\0" * 64)

    def nan(content: dict[str, Any]) -> None:
        name = next(key for key in content if content[key].dtype.kind == "f" and content[key].ndim)
        content[name] = np.full_like(content[name], NAN)

    yield case("as they are", lambda c, f: None, "taken")
    yield case("NaN weights", tensors(nan), short=True)
    yield case("a tensor less", tensors(lambda c: c.pop(sorted(c)[0])))
    yield case("a tensor more", tensors(lambda c: c.update(evil=np.zeros(3))))
    yield case("other shapes", tensors(lambda c: c.update({sorted(c)[0]: np.zeros((3, 3, 3), np.float32)})))
    yield case("weights changed, their checksum not", lambda c, f: f.write_bytes(f.read_bytes()[:-1] + b"\x7f"))
    yield case("no weights", lambda c, f: f.unlink())
    yield case("an empty file", weights(lambda b: b""))
    yield case("8 bytes", weights(lambda b: b"\x10" + b"\0" * 7))
    yield case("cut short", weights(lambda b: b[: len(b) // 2]))
    yield case("a pickle", weights(lambda b: b"\x80\x04cos\nsystem\n."))
    yield case("a header of 2^63 bytes", header(b"{}", 2**63))
    yield case("a header of 100 MB", header(b" " * 1000, 10**8))
    yield case("offsets before the start", header(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}}'))
    yield case("offsets beyond the end", header(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8000]}}'))
    yield case("a huge shape", header(b'{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}}'))
    yield case("a header that is no JSON", header(b"{" * 100))
    for name, value in (
        ("hidden_irreps", '__import__("os")'), ("hidden_irreps", "1e8x0e"), ("hidden_irreps", "100000000x0e"),
        ("hidden_irreps", "4x300e"), ("MLP_irreps", 5), ("num_interactions", 10**6), ("num_interactions", -1),
        ("num_interactions", "two"), ("max_ell", 200), ("correlation", 12), ("correlation", -1), ("r_max", NAN),
        ("r_max", 1e6), ("r_max", "far"), ("r_max", -1.0), ("atomic_numbers", []), ("atomic_numbers", [-1]),
        ("atomic_numbers", [29, 29]), ("atomic_numbers", "Cu"), ("avg_num_neighbors", 0.0), ("avg_num_neighbors", NAN),
        ("radial_MLP", [10**9]), ("radial_MLP", "x"), ("distance_transform", "evil"), ("radial_type", "evil"),
        ("interaction_cls", "__import__"), ("readout_cls", "LinearReadoutBlock"), ("gate", "exec"), ("evil", 1),
        ("heads", []), ("heads", "Default"), ("num_bessel", 10**9), ("num_polynomial_cutoff", NAN),
    ):  # fmt: skip
        yield case(f"{name} = {str(value)[:30]}", hyper(**{name: value}), short=value == 10**6)
    for name, value in (
        ("model", "os.system"), ("dtype", "bfloat16"), ("sha256", ...), ("hyperparameters", ...), ("voting", "zz"),
        ("hyperparameters", [1]), ("heads", []), ("version", 2), ("atomic_numbers", []),
        ("E0s", {"Default": {"29": NAN}}),
        ("r_max", "x"), ("format", "other"),
    ):  # fmt: skip
        yield case(f"card: {name} = {str(value)[:30]}", card(**{name: value}))
    yield case("a card that is a list", lambda c, f: c.write_text("[]"))
    yield case("a card nested deeply", lambda c, f: c.write_text("[" * 100_000))
    yield case("a card with the wrong checksum", lambda c, f: c.write_text(c.read_text().replace("3.5", "3.6")))
    yield case("a card in Latin-1", lambda c, f: c.write_bytes(b'{"a": "\xff"}'))
    for members in (5, "member-0", [], [5], ["../../../../../etc/passwd"], {"a": 1}):
        edit = lambda c, f, m=members: (c.parent / "committee.json").write_text(json.dumps({"members": m}))  # noqa: E731
        found = case(f"committee.json with members = {members}", edit)
        yield Case(found.kind, found.name, found.prepare, "refused" if members != [] else "told", ())

    def pickle(box: Box) -> Command:
        box.file("evil.model", b"\x80\x04cos\nsystem\n(S'touch pwned'\ntR.")
        return ["models", "import", "evil.model"]

    yield Case("models", "a pickle without --trust", pickle, "refused", ("evil.model",), short=True)


def _told() -> Iterator[Case]:  # noqa: C901 - one small function per case
    """Answers by hand to an open batch."""

    def case(name: str, make: Callable[[Any], Any], expect: str = "refused", short: bool = False) -> Case:
        def prepare(box: Box) -> Command:
            folder = box.campaign(of="halfway")

            def run() -> int:
                from tentpole import Campaign
                from tentpole.errors import TentpoleError

                status = 0
                with Campaign(folder) as live:
                    request = live.ask()[0]
                    try:
                        live.tell(make(request))
                    except TentpoleError as error:
                        print(f"error: {error}")
                        status = 2
                with Campaign(folder) as live:  # whatever was told, the folder opens and asks
                    live.ask()
                return status

            return run

        return Case("answers", name, prepare, expect, short=short)

    def label(**values: Any) -> Callable[[Any], Any]:
        def make(request: Any) -> Any:
            from dataclasses import replace

            good = request.label(energy=-9.0, forces=np.zeros((len(request.atoms), 3)))
            return [replace(good, **values)]

        return make

    def other_atoms(request: Any) -> Any:
        atoms = request.atoms.copy()
        atoms.positions += 0.5
        return label(atoms=atoms)(request)

    from tentpole.campaign.campaign import Failure

    yield case("a right one", label(), "taken")
    for field, value in (
        ("energy", NAN), ("energy", INF), ("energy", "low"), ("energy", 1j), ("energy", np.zeros(3)), ("energy", None),
        ("forces", np.zeros((3, 3))), ("forces", [["a"] * 3] * 4), ("forces", np.full((4, 3), INF)), ("forces", None),
        ("forces", np.zeros(12)), ("forces", np.full((4, 3), 1e10)), ("stress", np.full(6, NAN)),
        ("stress", np.zeros((3, 3))), ("stress", np.zeros(7)), ("stress", "abc"), ("details", {"a": os}),
        ("details", {"a": np.zeros(3)}), ("details", {"seconds": "fast"}), ("details", {"core_s": NAN}),
        ("details", {"core_s": -1e9}), ("details", 5), ("reference", "0" * 16), ("structure", "../../../evil"),
        ("structure", "0" * 32), ("charge", "one"), ("atoms", None),
    ):  # fmt: skip
        yield case(
            f"{field} = {str(value)[:30]}",
            label(**{field: value}),
            short=field == "details" and "seconds" in str(value),
        )
    yield case("other atoms under the same name", other_atoms, short=True)
    yield case("None", lambda request: [None])
    yield case("text", lambda request: ["label"])
    yield case("a number", lambda request: 5)
    yield case("a failure of a name not asked for", lambda request: [Failure("../../../evil", "x", "y")])
    yield case("a failure with an empty reason", lambda request: [Failure(request.name, "", "")], "told")
    yield case("a failure with a reason of None", lambda request: [Failure(request.name, None, None)], "told")
    yield case("a failure with brackets", lambda request: [Failure(request.name, "crashed", "[/x] [bold]")], "taken")
    yield case("a label twice", lambda request: label()(request) * 2, "told")
    yield case("a label, then a failure", lambda request: [*label()(request), Failure(request.name, "x", "y")], "told")

    def after_close(box: Box) -> Command:
        folder = box.campaign(of="halfway")

        def run() -> int:
            from tentpole import Campaign

            live = Campaign(folder)
            live.close()
            live.close()
            requests = live.ask()
            live.tell([requests[0].failed("late")])
            return 0

        return run

    yield Case("answers", "after close", after_close, "refused")

    def two(box: Box) -> Command:
        folder = box.campaign(of="halfway")

        def run() -> int:
            from tentpole import Campaign

            with Campaign(folder), Campaign(folder):
                return 0

        return run

    yield Case("answers", "two campaigns of one folder in one process", two, "refused", ("pid",))


def cases() -> Iterator[Case]:
    """All of them."""
    yield from _journal()
    yield from _labels()
    yield from _config()
    yield from _rounds()
    yield from _locks()
    yield from _shards()
    yield from _permissions()
    yield from _models()
    yield from _told()
