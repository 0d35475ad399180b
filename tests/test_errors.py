"""What is imported by name is there, or the error says what to do."""

import pytest

from tentpole.errors import InputError, import_object, optional_module


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
