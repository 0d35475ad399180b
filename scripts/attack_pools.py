"""Bad pools of materials, benchmarks that were edited, and what is written for spreadsheets."""

from __future__ import annotations

import gzip
import json
import math
import random
from collections.abc import Callable, Iterator
from pathlib import Path

from attack_bench import Box, Case, Command

HEADER = "formula,formation_energy_per_atom,density,nsites\n"


def rows(count: int = 60, seed: int = 1) -> list[list[str]]:
    """A made-up table."""
    rng = random.Random(seed)
    metals, others = ("Fe", "Ti", "Ni", "Mg", "Ca"), ("O", "S", "N", "F")
    table = []
    for k in range(count):
        energy, density = rng.gauss(0, 1), rng.uniform(2, 9)
        formula = f"{metals[k % 5]}{1 + k % 3}{others[k % 4]}{1 + k % 7}"
        table.append([formula, f"{energy:.4f}", f"{density:.4f}", str(2 + k % 20)])
    return table


def text(table: list[list[str]], header: str = HEADER) -> str:
    """As CSV."""
    return header + "".join(",".join(row) + "\n" for row in table)


def cell(row: int, column: int, value: str) -> str:
    """The table with one cell changed."""
    table = rows()
    table[row][column] = value
    return text(table)


def run(
    file: str, content: str | bytes | None, *more: str, target: str = "formation_energy_per_atom"
) -> Callable[[Box], Command]:
    """The benchmark of a file, as small as it can be."""

    def prepare(box: Box) -> Command:
        if content is not None:
            box.file(file, content)
        small = ("--model", "forest", "--rules", "random,diversity", "--seeds", "2", "--initial", "5", "--batch", "3",
                 "--labels", "8", "--workers", "1")  # fmt: skip
        return ["pool", "run", file, "--out", box.out("O"), "--target", target, *small, *more]

    return prepare


def _tables() -> Iterator[Case]:
    good = text(rows())
    bomb = gzip.compress(HEADER.encode() + b"a" * 50_000_000)
    bomb = bomb if len(bomb) < 10**6 else b""
    bad: list[tuple[str, str, str | bytes | None, tuple[str, ...]]] = [
        ("no file", "no.csv", None, ("no.csv",)),
        (".txt", "x.txt", good, (".txt",)),
        ("empty", "e.csv", "", ("e.csv",)),
        ("a header alone", "h.csv", HEADER, ("h.csv",)),
        ("one row", "o.csv", text(rows(1)), ()),
        ("three rows", "t.csv", text(rows(3)), ()),
        ("ragged", "r.csv", good.replace("\n", "\nFe,1\n", 1), ("r.csv", "line 2")),
        ("a column twice", "d.csv", good.replace("nsites", "density", 1), ("density",)),
        ("text in the target", "x.csv", cell(3, 1, "much"), ("formation_energy_per_atom",)),
        ("no formula in row 5", "f.csv", cell(3, 0, ""), ("f.csv",)),
        ("an unknown element", "f.csv", cell(3, 0, "Xx2"), ("Xx", "f.csv")),
        ("element X", "f.csv", cell(3, 0, "X2O"), ("f.csv",)),
        ("a broken formula", "f.csv", cell(3, 0, "Fe(((("), ("Fe((((", "f.csv")),
        ("a formula in words", "f.csv", cell(3, 0, "rust"), ("rust", "f.csv")),
        ("Fe1e999999", "f.csv", cell(3, 0, "Fe1e999999"), ("f.csv",)),
        ("400 digits", "f.csv", cell(3, 0, "Fe" + "9" * 400), ("f.csv",)),
        ("no atoms", "f.csv", cell(3, 0, "Fe0"), ("f.csv",)),
        ("Arabic digits", "f.csv", cell(3, 0, "Fe٣O"), ("f.csv",)),
        ("a constant target", "c.csv", text([[a, "1", c, d] for a, _, c, d in rows()]), ("constant",)),
        ("a field of 200 kB", "l.csv", cell(3, 0, "Fe" * 100_000), ("l.csv",)),
        ("NUL bytes", "n.csv", good.encode().replace(b"Fe", b"F\0e"), ("n.csv",)),
        ("Latin-1", "l1.csv", good.encode() + "é,1,1,1\n".encode("latin-1"), ("l1.csv",)),
        ("UTF-16", "u16.csv", good.encode("utf-16"), ("u16.csv",)),
        ("gz cut short", "g.csv.gz", gzip.compress(good.encode())[:-20], ("g.csv.gz",)),
        ("gz corrupted", "g.csv.gz", b"".join([gzip.compress(good.encode())[:60], b"\xff" * 40,
         gzip.compress(good.encode())[100:]]), ("g.csv.gz",)),
        ("gz that is none", "g.csv.gz", b"\x1f\x8bxxxxxxxxxxxx", ("g.csv.gz",)),
        ("50 MB of one field in gz", "b.csv.gz", bomb, ("b.csv.gz",)),
        ("JSON broken", "j.json", '{"a": [1,', ("j.json",)),
        ("JSON of one number", "j.json", "5", ("j.json",)),
        ("JSON nested deeply", "j.json", "[" * 100_000, ("j.json",)),
        ("JSON of numbers", "j.json", "[1, 2, 3]", ("j.json",)),
        ("JSON of nothing", "j.json", "[]", ("j.json",)),
        ("JSON of ragged columns", "j.json", '{"formula": ["Fe"], "x": [1, 2]}', ("j.json",)),
        ("JSON of a column that is a number", "j.json", '{"formula": 5}', ("j.json",)),
        ("JSON, a structure without sites", "j.json", '[{"structure": {"lattice": 1}}]', ("j.json",)),
        ("HDF5 that is none", "x.h5", "not hdf5", ("x.h5",)),
        ("an empty HDF5", "x.h5", b"\x89HDF\r\n\x1a\n" + b"\0" * 200, ("x.h5",)),
        ("extxyz broken", "x.extxyz", "2\nLattice=1\nFe 0 0\n", ("x.extxyz",)),
    ]  # fmt: skip
    for name, file, content, names in bad:
        yield Case("pools", name, run(file, content), "refused", names,
                   short=name in ("gz corrupted", "JSON nested deeply"))  # fmt: skip

    def folder(box: Box) -> Command:
        (box.work / "x.csv").mkdir()
        return ["pool", "run", "x.csv", "--out", box.out("O")]

    yield Case("pools", "a folder", folder, "refused", ("x.csv",))
    odd: list[tuple[str, str]] = [
        ("as it is", good),
        ("infinity in the target", cell(3, 1, "inf")),
        ("NaN and nothing in the target", cell(3, 1, "")),
        ("infinity in a descriptor", cell(3, 2, "inf")),
        ("1e400 in a descriptor", cell(3, 2, "1e400")),
        ("sodium nitride", cell(3, 0, "NaN")),
        ("brackets 50 000 deep", cell(3, 0, "(" * 50_000 + "Fe" + ")" * 50_000)),
        ("a row twice", good + good.splitlines(keepends=True)[-1]),
        ("CRLF", good.replace("\n", "\r\n")),
        ("a UTF-8 mark", "\ufeff" + good),
    ]
    for name, content in odd:
        yield Case("pools", f"odd: {name}", run("odd.csv", content), "taken")


def _words() -> Iterator[Case]:
    good = text(rows())
    bad: list[tuple[tuple[str, ...], tuple[str, ...]]] = [
        (("--target", "nope"), ("nope",)), (("--target", "formula"), ("formula",)), (("--seeds", "0"), ("seeds",)),
        (("--seeds", "-1"), ("seeds",)), (("--seeds", "x"), ()), (("--first-seed", "-5"), ("first-seed", "-5")),
        (("--initial", "0"), ("initial 0",)), (("--initial", "1000"), ("1000",)), (("--batch", "0"), ("batch 0",)),
        (("--labels", "2"), ("labels 2",)), (("--labels", "100000"), ("100000",)), (("--rules", "nope"), ("nope",)),
        (("--rules", ","), ("rules",)), (("--rules", "random,random"), ("random",)),
        (("--features", "nope"), ("nope",)),
        (("--model", "nope"), ("nope",)), (("--workers", "-2"), ("workers", "-2")), (("--features", ""), ()),
        (("--against", "/nonexistent.csv"), ("/nonexistent.csv",)), (("--seeds", "100000000"), ("seeds",)),
    ]  # fmt: skip
    for words, names in bad:
        yield Case("pools", " ".join(words), run("good.csv", good, *words), "refused", names,
                   short=words[0] == "--first-seed")  # fmt: skip

    def to(place: str) -> Callable[[Box], Command]:
        def prepare(box: Box) -> Command:
            box.file("a-file", "x")
            words = run("good.csv", good)(box)
            return [place if str(word).endswith("/O") else word for word in words]  # type: ignore[union-attr]

        return prepare

    yield Case("pools", "--out is a file", to("a-file"), "refused", ("a-file",))
    yield Case("pools", "--out in /proc", to("/proc/x"), "refused", ("/proc/x",))
    fetch: list[tuple[tuple[str, ...], tuple[str, ...]]] = [
        (("--out", "p.csv"), ()), (("--out", "p.txt", "--table", "good.csv"), (".txt",)),
        (("--out", "p.csv", "--elements", "Zz", "--oqmd", "5"), ("Zz",)), (("--out", "p.csv", "--oqmd", "5"), ()),
        (("--out", "p.csv", "--elements", "Si", "--chemsys", "Si", "--oqmd", "5"), ("chemsys",)),
        (("--out", "p.csv", "--elements", "Si", "--oqmd", "-5"), ("-5",)),
        (("--out", "p.csv", "--elements", "Si", "--mp", "5"), ("MP_API_KEY",)),
        (("--out", "p.csv", "--elements", "Si", "--optimade", "5", "--service", "file:///etc/passwd"), ("file:///",)),
        (("--out", "p.csv", "--table", "nope.csv"), ("nope.csv",)),
        (("--out", "good.csv/p.csv", "--table", "good.csv"), ("good.csv",)),
        (("--out", "p.csv", "--table", "good.csv", "--table", "good.csv", "--align", "--elements", "Zz"), ()),
    ]  # fmt: skip
    for words, names in fetch:

        def prepare(box: Box, words: tuple[str, ...] = words) -> Command:
            box.file("good.csv", good)
            box.out("p.csv")
            return ["pool", "fetch", *words]

        expect = "told" if "--align" in words else "refused"
        yield Case("pools", f"fetch {' '.join(words)}", prepare, expect, names, environment=(("MP_API_KEY", ""),))

    def spreadsheet(box: Box) -> Command:
        table = rows()
        for row, value in enumerate(("=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\t=1", "\r=1")):
            table[row] = [*table[row], value]
        whole = [[*row, "plain", ""][:5] for row in table]
        lines = [",".join(f'"{v}"' if i == 4 else v for i, v in enumerate(row)) for row in whole]
        box.file("in.csv", HEADER.strip() + ",remark\n" + "\n".join(lines) + "\n")
        return ["pool", "fetch", "--table", "in.csv", "--out", box.out("p.csv"), "--no-filters"]

    def no_formula(box: Box) -> str:
        import csv

        path = box.work / "p.csv"
        if not path.exists():
            return "refused: nothing was written"
        with path.open(newline="") as file:
            cells = [value for line in csv.reader(file) for value in line]
        run = [v for v in cells if v[:1] in "=+-@\t\r" and v and not _is_number(v)]
        return f"taken: cells that a spreadsheet runs: {run}" if run else ""

    yield Case("pools", "cells that a spreadsheet would run", spreadsheet, "taken", after=no_formula, short=True)


def _is_number(value: str) -> bool:
    try:
        return not math.isnan(float(value))
    except ValueError:
        return False


def _benchmarks() -> Iterator[Case]:
    """Folders of finished benchmarks, edited."""

    def after(edit: Callable[[Path], object], *words: str, other: bool = False) -> Callable[[Box], Command]:
        def prepare(box: Box) -> Command:
            first = run("good.csv", text(rows()))(box)
            second = run("other.csv", text(rows(seed=2)))(box)
            assert not callable(first)
            assert not callable(second)

            def both() -> int:
                from attack_bench import tentpole

                assert tentpole(*first) == 0
                edit(Path("O"))
                return tentpole(*(words or (second if other else first)))

            return both

        return prepare

    def damage(name: str, new: str) -> Callable[[Path], object]:
        return lambda folder: (folder / name).write_text(new)

    def seed(folder: Path) -> None:
        path = folder / "seeds" / "00001.json"
        path.write_text(path.read_text().replace('"mae": 0.', '"mae": 9.', 1).replace('"mae": 1.', '"mae": 9.', 1))

    report = ("pool", "report", "O")

    def new(folder: Path) -> None:
        """Leave it as it is."""

    table: list[tuple[str, Callable[[Box], Command], str, tuple[str, ...]]] = [
        ("report", after(new, *report), "taken", ()),
        ("a damaged seed", after(seed, *report), "refused", ("00001.json",)),
        ("a damaged benchmark.json", after(damage("benchmark.json", "{"), *report), "refused", ("benchmark.json",)),
        ("a benchmark.json nested deeply", after(damage("benchmark.json", "[" * 10**5), *report), "refused",
         ("benchmark.json",)),
        ("a seed that is a list", after(damage("seeds/00001.json", "[]"), *report), "refused", ("00001.json",)),
        ("a stray file among the seeds", after(damage("seeds/notes.json", "{}"), *report), "told", ()),
        ("other data in the same folder", after(new, other=True), "refused", ("O",)),
        ("no benchmark.json, then other data", after(lambda f: (f / "benchmark.json").unlink(), other=True), "refused",
         ("O",)),
        ("no benchmark.json, then the same data", after(lambda f: (f / "benchmark.json").unlink()), "taken", ()),
        ("a missing seed", after(lambda f: (f / "seeds" / "00001.json").unlink()), "taken", ()),
        ("report of no benchmark", lambda box: ["pool", "report", "."], "refused", ()),
    ]  # fmt: skip
    for name, prepare, expect, names in table:
        yield Case("pools", f"benchmark: {name}", prepare, expect, names, short=name.endswith("then other data"))
    version = after(
        lambda f: (f / "benchmark.json").write_text(_versioned(f / "benchmark.json")), "pool", "report", "O"
    )
    yield Case("pools", "benchmark: version 99", version, "refused", ("99",))


def _versioned(path: Path) -> str:
    from attack_folders import sealed

    content = json.loads(path.read_text())
    content.pop("checksum")
    return sealed(content | {"version": 99})


def cases() -> Iterator[Case]:
    """All of them."""
    yield from _tables()
    yield from _words()
    yield from _benchmarks()
