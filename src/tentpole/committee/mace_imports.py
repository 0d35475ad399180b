"""Import of mace's models without what only its training command needs.

The `__init__` of `mace.tools` imports its training and with it torchmetrics, pandas and matplotlib; one of its parts
imports torch's compiler, and e3nn's plots scipy.signal. Evaluating a model needs none of it, and it takes longer to
import than all the rest. Here these packages carry out their `__init__` when something is asked of them that the parts
listed below do not have: whoever asks for anything gets the same as without this module. (The standard library's
LazyLoader loads as soon as somebody looks through sys.modules, as inspect does.)
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

WAITING: dict[str, tuple[str, ...]] = {
    "mace.tools": ("torch_tools", "utils", "default_keys"),
    "scipy.signal": (),
    "torch._dynamo": (),
}
"""Packages, and those parts that are searched for a name before the package's `__init__` is carried out."""
LIGHT = {"mace.tools": ("torch_tools", "utils", "default_keys", "cg", "compile", "scatter", "torch_geometric")}
"""The parts that may be imported before it."""

_lock = threading.RLock()


class _Package(ModuleType):
    """A package whose `__init__` is carried out when something is asked for that its parts do not have."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        for part in WAITING[self.__name__]:
            members = vars(importlib.import_module(f"{self.__name__}.{part}"))
            if name in members:
                return members[name]
        _complete(self)
        return getattr(self, name)


class _Later(Loader):
    """Makes such a package."""

    def __init__(self, whole: Loader) -> None:
        self.whole = whole

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Package(spec.name)

    def exec_module(self, module: ModuleType) -> None: ...


class _Finder(MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, _target: ModuleType | None = None) -> ModuleSpec | None:
        package, _, part = name.rpartition(".")
        if package in WAITING and part not in LIGHT.get(package, ()):
            _complete(sys.modules[package])
        if name not in WAITING:
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            spec.loader = _Later(spec.loader)
        return spec


def _complete(package: ModuleType) -> None:
    """Carry out the package's `__init__`, once."""
    with _lock:
        loader = package.__loader__
        if isinstance(package, _Package) and isinstance(loader, _Later):
            object.__setattr__(package, "__class__", ModuleType)  # names are looked up as in any package from here on
            loader.whole.exec_module(package)


def install() -> None:
    """Import mace so from now on in this process; nothing changes for what is imported already."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
