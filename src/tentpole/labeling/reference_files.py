"""The reference files themselves: where they are, which words they may have, and how they inherit."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import tomli_w

from tentpole.errors import InputError, unknown
from tentpole.labeling.acceptance import Accept
from tentpole.labeling.codes.modules import own_files
from tentpole.storage.toml_text import parse_toml

_LISTS = ("properties", "requires", "requires_for_molecules", "remove", "allow")
_TEXTS = ("parent", "description", "calculator", "home", "code_version")
_TABLES = ("parameters", "accept")
_KEYS = (*_TEXTS, *_LISTS, *_TABLES, "retry")
_PROPERTIES = ("energy", "forces", "stress")
_REQUIREMENTS = ("charge", "multiplicity")


@dataclass(frozen=True)
class Retry:
    """One rung of the ladder that an unconverged label climbs: a name, and parameters merged in."""

    name: str
    parameters: dict[str, Any]


def folder() -> Path:
    """Where the shipped reference files are: in the installed package, or at the top of a checkout."""
    shipped = Path(str(resources.files("tentpole"))) / "calculators"
    return shipped if shipped.is_dir() else Path(__file__).parents[3] / "calculators"


def available() -> tuple[str, ...]:
    """Names of the shipped references.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> from tentpole.labeling import available
    >>> "emt" in available()
    True
    """
    return tuple(sorted(path.stem for path in folder().glob("*.toml")))


def read(name_or_path: str | Path) -> dict[str, Any]:
    """The resolved content of a reference file, as the fields of a Reference.

    A name means a shipped file, or one beside the file that names it as its parent; what ends in .toml or has
    a folder in it is a path. Raises InputError, naming file and key, for whatever cannot be used.
    """
    path = _locate(name_or_path, None)
    content = _resolve(path, ())
    where = str(path)
    for key in ("calculator", "properties"):
        if key not in content:
            raise InputError(f'{where}: {key} is missing. Add it, or inherit it with parent = "…".')
    if ":" not in content["calculator"]:
        raise InputError(f'{where}: calculator = "{content["calculator"]}" is no import path "module:name".')
    for key, legal in (
        ("properties", _PROPERTIES),
        ("requires", _REQUIREMENTS),
        ("requires_for_molecules", _REQUIREMENTS),
    ):
        for word in content.get(key, ()):
            if word not in legal:
                raise unknown(f"word in {key}", word, legal, where)
    if not {"energy", "forces"} <= set(content["properties"]):
        raise InputError(f"{where}: properties must have energy and forces: models are trained on them.")
    retries = tuple(content.get("retry", ()))
    for name in content.get("allow", ()):
        if name not in [retry.name for retry in retries]:
            raise unknown("retry in allow", name, [retry.name for retry in retries], where)
    return {
        "name": path.stem,
        "import_path": content["calculator"],
        "properties": tuple(content["properties"]),
        "requires": tuple(content.get("requires", ())),
        "requires_for_molecules": tuple(content.get("requires_for_molecules", ())),
        "parameters": content.get("parameters", {}),
        "accept": Accept.read(content.get("accept", {}), f"{where}, [accept]"),
        "retries": retries,
        "allow": tuple(content.get("allow", ())),
        "code_version": content.get("code_version", ""),
        "description": content.get("description", ""),
        "source": str(path.resolve()),
        "home": content["home"],
    }


def copies(path: Path) -> dict[str, bytes]:
    """The reference file at `path` as it can stand in another folder: files by name relative to that.

    Its parents are merged into it, and beside it stand the calculator's module, where that is the user's own, and what
    this imports from beside itself.
    """
    content = _resolve(path, ())
    home = str(content.pop("home", ""))
    if "retry" in content:
        content["retry"] = [{"name": retry.name, **retry.parameters} for retry in content["retry"]]
    module = str(content.get("calculator", "")).partition(":")[0]
    own = {file.relative_to(home).as_posix(): file.read_bytes() for file in own_files(module, home)}
    return {**own, path.name: tomli_w.dumps(content).encode()}


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`base` with `over` on top, table by table."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def _locate(name: str | Path, beside: Path | None) -> Path:
    text = str(name)
    if isinstance(name, Path) or text.endswith(".toml") or "/" in text:
        path = Path(text) if beside is None else beside / text
        if not path.is_file():
            raise InputError(f"{path}: no such reference file. Shipped references: {', '.join(available())}.")
        return path
    if beside is not None and (beside / f"{text}.toml").is_file():
        return beside / f"{text}.toml"
    if text not in available():
        raise unknown("reference", text, available())
    return folder() / f"{text}.toml"


def _resolve(path: Path, children: tuple[Path, ...]) -> dict[str, Any]:
    """One file with its parents under it. A child's [[retry]] list replaces its parent's."""
    if path in children:
        raise InputError(f"{path}: is its own parent, by way of {', '.join(str(c) for c in children)}. Rename it.")
    content = _parse(path)
    if "parent" not in content:
        return content
    above = _resolve(_locate(content.pop("parent"), path.parent), (*children, path))
    for key in content.pop("remove", ()):
        if key not in above.get("parameters", {}):
            raise unknown("parameter in remove", key, above.get("parameters", {}), str(path))
        del above["parameters"][key]
    return merge(above, content)


def _parse(path: Path) -> dict[str, Any]:
    try:
        content = parse_toml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: cannot be read as TOML: {error}.") from None
    for key, value in content.items():
        if key not in _KEYS:
            raise unknown("key", key, _KEYS, str(path))
        if key in _TEXTS and not isinstance(value, str):
            raise InputError(f"{path}: {key} = {value!r} must be text in quotes.")
        if key in _LISTS and not (isinstance(value, list) and all(isinstance(v, str) for v in value)):
            raise InputError(f"{path}: {key} = {value!r} must be a list of words.")
        if key in _TABLES and not isinstance(value, dict):
            raise InputError(f"{path}: {key} must be a table, [{key}].")
    if "calculator" in content or "home" in content:  # where a module of the user's own is: here, if not said
        content["home"] = str((path.parent / content.get("home", "")).resolve())
    if "retry" in content:
        content["retry"] = [_retry(table, path) for table in content["retry"]]
    return content


def _retry(table: Any, path: Path) -> Retry:
    if not isinstance(table, dict) or not isinstance(table.get("name"), str) or len(table) < 2:
        raise InputError(f"{path}: each [[retry]] needs a name and at least one parameter to change.")
    return Retry(table["name"], {key: value for key, value in table.items() if key != "name"})
