"""Import of mace's models without what only its training command needs.

The `__init__` of `mace.tools` imports its training and with it torchmetrics, pandas and matplotlib; one of its parts
imports torch's compiler, and e3nn's plots scipy.signal. Evaluating a model needs none of it, and it takes longer to
import than all the rest. Here that `__init__` is carried out when something is asked for that the parts listed below
do not have, and the two libraries are loaded when they are first used: whoever asks for anything gets the same as
without this module.
"""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType
from typing import Any

PACKAGE = "mace.tools"
PARTS = ("torch_tools", "utils", "default_keys")
"""Its parts that are searched for a name before its `__init__` is carried out."""
LIGHT = (*PARTS, "cg", "compile", "scatter", "torch_geometric")
"""The parts that may be imported before it."""
ON_FIRST_USE = ("scipy.signal", "torch._dynamo")

_lock = threading.RLock()


class _Package(ModuleType):
    """A package whose `__init__` is carried out when something is asked for that its parts do not have."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        for part in PARTS:
            members = vars(importlib.import_module(f"{PACKAGE}.{part}"))
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
        if package == PACKAGE and part not in LIGHT:
            _complete(sys.modules[package])
        if name != PACKAGE and name not in ON_FIRST_USE:
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            spec.loader = _Later(spec.loader) if name == PACKAGE else LazyLoader(spec.loader)
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
