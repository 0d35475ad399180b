"""Files that are whole or not there, and a journal that a power cut cannot spoil."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from tentpole.errors import InputError, StateError
from tentpole.records import Label, bare, structure_hash
from tentpole.storage import journal
from tentpole.storage.atomic import atomic_write, os, read_json, write_json
from tentpole.storage.journal import Journal
from tentpole.storage.labels import label_files, read_label, write_label


def label(reference: str = "abc", energy: float = -1 / 3) -> Label:
    atoms = molecule("H2O")
    forces = np.random.default_rng(0).normal(size=(3, 3))
    return Label(structure_hash(atoms, 0, 1), reference, atoms, energy, forces, None, 0, 1, {"code": "x"})


def test_a_label_comes_back_bit_for_bit(tmp_path: Path) -> None:
    written = label()
    read = read_label(write_label(tmp_path, written))
    assert read.energy == written.energy
    assert (read.forces == written.forces).all()
    assert (read.atoms.positions == written.atoms.positions).all()
    assert read.name == written.name
    assert read.details == written.details


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_label_is_refused_by_name(tmp_path: Path, damage: str) -> None:
    path = write_label(tmp_path, label())
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[data.index(b"-0.33") + 3] ^= 1
    path.write_bytes({"flip": bytes(data), "cut": bytes(data[: len(data) // 2]), "empty": b""}[damage])
    with pytest.raises(StateError, match=path.name):
        read_label(path)


def test_labels_whose_files_were_swapped_are_refused(tmp_path: Path) -> None:
    first, second = write_label(tmp_path, label("abc")), write_label(tmp_path, label("abd", -2.0))
    second.write_bytes(first.read_bytes())
    with pytest.raises(StateError, match="swapped or copied"):
        read_label(second)
    write_json(first, read_json(first) | {"charge": 3})
    with pytest.raises(StateError, match="not those that were asked for"):
        read_label(first)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"energy": float("nan")}, "energy is not finite"),
        ({"energy": "low"}, "energy must be numbers"),
        ({"forces": np.zeros((2, 3))}, r"forces has shape \(2, 3\)"),
        ({"stress": np.full(6, np.nan)}, "stress is not finite"),
        ({"stress": np.zeros((3, 3))}, r"legal is shape \(6,\)"),
        ({"details": {"seconds": "fast"}}, "seconds = 'fast'"),
        ({"details": {"core_s": -1e9}}, "0 or more"),
        ({"details": {"core_s": float("nan")}}, "finite"),
        ({"details": {"file": Path("x")}}, "plain JSON"),
        ({"atoms": molecule("NH3")}, r"forces has shape"),
        ({"charge": 2}, "not those that were asked for"),
    ],
    ids=str,
)
def test_what_is_no_label_is_not_written(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        write_label(tmp_path, replace(label(), **change))
    assert list(tmp_path.iterdir()) == []


def test_a_label_file_that_lacks_a_key_is_named_with_it(tmp_path: Path) -> None:
    path = write_label(tmp_path, label())
    content = read_json(path)
    del content["forces"]
    write_json(path, content)
    with pytest.raises(StateError, match=f'{path.name}.*lacks the key "forces".*Restore'):
        read_label(path)


def test_what_else_lies_among_labels_is_passed_over(tmp_path: Path) -> None:
    path = write_label(tmp_path, label())
    (path.parent / "notes.json").write_text("{}")
    (path.parent / f"{path.stem}-copy.json").write_text("{}")
    assert list(label_files(tmp_path)) == [path]


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.json"
    atomic_write(path, b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_structure_hash_tells_charge_and_spin_and_the_last_bit() -> None:
    atoms = molecule("H2O")
    moved = atoms.copy()
    moved.positions[0, 0] = np.nextafter(moved.positions[0, 0], 1)
    names = {structure_hash(atoms), structure_hash(moved), structure_hash(atoms, 1, 2), structure_hash(atoms, 1, 1)}
    assert len(names) == 4
    assert structure_hash(atoms) == structure_hash(atoms.copy())


def test_starting_moments_are_in_the_hash_and_without_them_it_is_what_it_always_was() -> None:
    oxide = Atoms("FeO", [[0, 0, 0], [1.5, 0, -0.25]], cell=[4, 5, 6], pbc=[True, True, False])
    assert structure_hash(oxide) == "adfee061bc04a9e4b65608013fc6a13f"
    assert structure_hash(oxide, 1, 2) == "85bc1c7d71e57dc0dd56bae2ea17ba42"
    up, down, none, vectors = (
        Atoms(oxide, magmoms=m) for m in ([2.5, -0.0], [-2.5, 0.0], [0, 0], [[0, 0, 1.0], [0, 0, 0]])
    )
    assert len({structure_hash(oxide), structure_hash(up), structure_hash(down)}) == 3
    assert structure_hash(none) == structure_hash(vectors) == structure_hash(oxide)
    assert structure_hash(bare(up)) == structure_hash(up) == structure_hash(Atoms(oxide, magmoms=[2.5, 0]))


def test_a_label_keeps_its_starting_moments(tmp_path: Path) -> None:
    magnet = Atoms("Fe2", [[0, 0, 0], [2, 0, 0]], magmoms=[2.5, -2.5])
    label = Label(structure_hash(magnet), "ref", magnet, -1.0, np.zeros((2, 3)))
    read = read_label(write_label(tmp_path, label))
    assert structure_hash(read.atoms) == label.structure
    plain = Label(structure_hash(molecule("H2O")), "ref", molecule("H2O"), -1.0, np.zeros((3, 3)))
    path = write_label(tmp_path, plain)
    assert "magmoms" not in path.read_text()
    assert not read_label(path).atoms.has("initial_magmoms")


def test_events_come_back_in_order(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.jsonl") as log:
        for i in range(5):
            log.append("count", i=i)
    assert [event["i"] for event in journal.read(tmp_path / "j.jsonl")] == list(range(5))


def test_echoes_of_other_files_are_synced_together_and_anything_else_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(journal.os, "fsync", synced.append)
    monkeypatch.setattr(journal, "ECHO_S", 3600.0)
    with Journal(tmp_path / "j.jsonl") as log:
        for i in range(5):
            log.append("label", echo=True, i=i)
        assert not synced
        assert len(journal.read(tmp_path / "j.jsonl")) == 5  # a kill loses nothing
        log.append("round done")
        assert len(synced) == 1
        monkeypatch.setattr(journal, "ECHO_S", 0.0)
        log.append("label", echo=True, i=5)
        assert len(synced) == 2


@pytest.mark.parametrize("cut", [2, 10, 30])
def test_a_torn_last_line_is_dropped_and_the_next_one_is_whole(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "j.jsonl"
    with Journal(path) as log:
        log.append("first")
        log.append("second")
    path.write_bytes(path.read_bytes()[:-cut])
    assert [event["event"] for event in journal.read(path)] == ["first"]
    with Journal(path) as log:
        log.append("third")
    assert [event["event"] for event in journal.read(path)] == ["first", "third"]


def test_a_last_line_that_lacks_only_its_newline_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with Journal(path) as log:
        log.append("first")
    path.write_bytes(path.read_bytes()[:-1])
    assert [event["event"] for event in journal.read(path)] == ["first"]
    with Journal(path) as log:
        log.append("second")
    assert [event["event"] for event in journal.read(path)] == ["first", "second"]


def test_a_damaged_line_inside_is_refused_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with Journal(path) as log:
        for name in ("first", "second", "third"):
            log.append(name)
    path.write_bytes(path.read_bytes().replace(b"second", b"secund"))
    with pytest.raises(StateError, match="line 2"):
        journal.read(path)


def test_events_are_read_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with Journal(path) as log:
        for k in range(3):
            log.append("count", k=k)
    path.write_bytes(path.read_bytes().replace(b'"k":2', b'"k":3'))
    stream = journal.events(path)
    assert [next(stream)["k"], next(stream)["k"]] == [0, 1]
    with pytest.raises(StateError, match="line 3"):
        next(stream)
    assert list(journal.events(tmp_path / "none")) == []


def test_a_long_torn_tail_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    with Journal(path) as log:
        log.append("first")
    whole = path.read_bytes()
    path.write_bytes(whole + bytes(200_000))
    with Journal(path):
        assert path.read_bytes() == whole


def test_a_journal_that_is_a_link_is_refused_and_its_target_kept(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "j.jsonl").symlink_to(tmp_path / "mine")
    with pytest.raises(StateError, match="symbolic link"):
        Journal(tmp_path / "j.jsonl")
    assert (tmp_path / "mine").read_text() == "mine"


def test_json_with_a_changed_value_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": 1.0})
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "a": 2.0}))
    with pytest.raises(StateError, match="checksum"):
        read_json(path)
