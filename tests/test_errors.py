"""What is imported by name is there, or the error says what to do."""

import csv
import json
import os
import struct
import zlib
from pathlib import Path

import pytest

from tentpole.errors import InputError, StateError, import_object, of_system, optional_module, reading


def test_an_optional_module_that_is_missing_is_answered_with_its_extra() -> None:
    with pytest.raises(InputError, match=r'the report needs nowhere_at_all, .* pip install "tentpole\[report\]"'):
        optional_module("nowhere_at_all.part", extra="report", needed_by="the report")
    assert optional_module("os.path", extra="report").sep


def test_an_object_is_imported_by_its_path() -> None:
    assert import_object("collections.abc:Mapping.get")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("math", "package.module:name"),
        (":", "package.module:name"),
        ("math:", "package.module:name"),
        ("a b:c", "package.module:name"),
        ("../mod:c", "package.module:name"),
        ("nowhere_at_all:name", "no module nowhere_at_all"),
        ("math:squirt", "squirt"),
    ],
)
def test_what_cannot_be_imported_is_said_with_its_place(path: str, words: str) -> None:
    with pytest.raises(InputError, match=r"my\.toml: ") as caught:
        import_object(path, where="my.toml")
    assert words in str(caught.value)


BROKEN = {
    "key": (lambda: {}["cell"], 'it lacks the key "cell"'),
    "value": (lambda: float("x"), "could not convert string to float"),
    "type": (lambda: len(5), "has no len"),  # type: ignore[arg-type]
    "text": (lambda: b"\xff\xfe".decode(), "not UTF-8 text .byte 0xff at place 0"),
    "json": (lambda: json.loads("{"), "Expecting property name"),
    "deep": (lambda: json.loads("[" * 100_000), "too deep"),
    "zlib": (lambda: zlib.decompress(b"x"), "compressed data"),
    "csv": (lambda: list(csv.reader(["x" * 200_000])), "field larger than field limit"),
    "struct": (lambda: struct.unpack("<i", b"x"), "4 bytes"),
    "os": (lambda: open("/proc/self", "w"), "is a folder|Is a directory"),  # noqa: SIM115, PTH123
}


@pytest.mark.parametrize("kind", BROKEN)
def test_whatever_is_wrong_with_a_file_becomes_one_error_that_names_it(kind: str, tmp_path: Path) -> None:
    function, words = BROKEN[kind]
    with pytest.raises(StateError, match=words) as caught, reading(tmp_path / "f", error=StateError, remedy="Do this."):
        function()
    if kind != "os":
        assert str(tmp_path / "f") in str(caught.value)
        assert str(caught.value).endswith("Do this.")


def test_an_error_that_names_no_file_is_given_one(tmp_path: Path) -> None:
    with (
        pytest.raises(StateError, match=r"f: three is no number\. Do this"),
        reading(tmp_path / "f", error=StateError, remedy="Do this."),
    ):
        raise InputError("three is no number.")


@pytest.mark.parametrize("number", [17, 20, 21, 28, 36, 13, 5, 116, 99])
def test_what_the_system_refuses_is_told_with_file_reason_and_what_to_do(number: int) -> None:
    words = of_system(OSError(number, os.strerror(number), "here/x"))
    assert words.startswith(f"here/x: {os.strerror(number)}.")
    assert number == 99 or len(words.split(". ")) > 1
    assert ("Make room" in words) == (number == 28)
