"""Where the Python module of a calculator is: beside the reference file that names it, or installed."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.metadata
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from tentpole.errors import InputError

PACKAGES = {
    "tblite": 'pip install "tentpole[xtb]"',
    "chgnet": 'pip install "tentpole[chgnet]"',
    "dftd3": 'pip install "tentpole[dispersion]"',
    "dftd4": 'pip install "tentpole[dispersion]"',
    "gpaw": "pip install gpaw (it needs libxc and a BLAS)",
    "ase": "pip install ase",
    "tentpole": "pip install tentpole",
}  # never looked for beside a file, and the only ones that a user is told to install


def own_file(module: str, home: str) -> Path | None:
    """The file of a module of the user's own in folder `home`; None where there is none."""
    if not home or module.partition(".")[0] in PACKAGES:
        return None
    stem = Path(home, *module.split("."))
    return next((p for p in (stem.with_suffix(".py"), stem / "__init__.py") if p.is_file()), None)


def own_files(module: str, home: str) -> list[Path]:
    """The files of a module of the user's own in folder `home`, and of what it imports from there; [] for others."""
    files: list[Path] = []
    waiting = [module]
    while waiting:
        name = waiting.pop()
        file = own_file(name, home)
        if file is None or file in files:
            continue
        files += sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]
        parents = name.split(".")[:-1]
        waiting += [".".join(parents[: i + 1]) for i in range(len(parents))]
        waiting += [imported for path in files for imported in _imported(path)]
    return files


def _imported(path: Path) -> set[str]:
    """The modules that the code in `path` names in its imports."""
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:  # who imports it will say so
        return set()
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def import_module(module: str, home: str) -> ModuleType:
    """The module, the one in folder `home` before any that is installed.

    Raises InputError where another module of that name was loaded before, ImportError where there is none.
    """
    file = own_file(module, home)
    if file is None:
        return importlib.import_module(module)
    sys.path.insert(0, home)
    try:
        importlib.invalidate_caches()
        loaded = importlib.import_module(module)
    finally:
        sys.path.remove(home)
    if not loaded.__file__ or Path(loaded.__file__).resolve() != file.resolve():
        raise InputError(f"{file}: another module is called {module} here, {loaded.__file__}. Give yours another name.")
    if home not in sys.path:
        sys.path.append(home)  # for what it imports later from beside it; at the end, so that it hides nothing
    return loaded


def exists(module: str, home: str) -> bool:
    """Whether the module can be found; nothing is loaded but the parents of a dotted one."""
    try:
        return own_file(module, home) is not None or importlib.util.find_spec(module) is not None
    except ImportError:
        return False


def advice(module: str) -> str:
    """What to do about a module that is not there."""
    top = module.partition(".")[0]
    if top in PACKAGES:
        return PACKAGES[top]
    return f"Put {top}.py beside the reference file that names it, or its folder on PYTHONPATH, or install it."


def source_version(calculator: str, home: str) -> str:
    """Which code stands behind an import path: the package and its version, or the checksum of the file.

    Nothing is loaded but the parents of a dotted module. Raises InputError where there is no such module.
    """
    module = calculator.partition(":")[0]
    file = own_file(module, home)
    if file is None:
        top = module.partition(".")[0]
        try:
            return f"{top} {importlib.metadata.version(top)}"
        except importlib.metadata.PackageNotFoundError:
            file = _installed(module)
    if file is None:
        raise InputError(f'calculator "{calculator}": there is no module {module}. {advice(module)}')
    return f"{module} sha256:{checksum(file)}"


def _installed(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except ImportError:
        return None
    return Path(spec.origin) if spec is not None and spec.origin is not None else None


def checksum(path: Path) -> str:
    """16 hex digits of a file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
