"""The examples in docstrings of what users meet run, and give what they say."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

from support.paths import TOP

SOURCE = TOP / "src"
MODULES = sorted(
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
    for path in (SOURCE / "tentpole").rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = doctest.testmod(import_module(name), optionflags=doctest.ELLIPSIS)
    assert done.attempted
    assert not done.failed


def test_every_name_of_the_package_has_an_example() -> None:
    import tentpole

    for name in tentpole.__all__:
        if not name.startswith("__"):
            assert ">>> " in getattr(tentpole, name).__doc__, name
