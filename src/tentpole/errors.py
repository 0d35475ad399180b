"""Errors that say the value given, what is legal, and the next step."""

from __future__ import annotations

import difflib
import pkgutil
from collections.abc import Iterable
from importlib import import_module
from typing import Any


class TentpoleError(Exception):
    """Base of every error Tentpole raises on purpose. The message is meant for the user."""


class InputError(TentpoleError, ValueError):
    """Something the user wrote cannot be used: a key, a file, a structure, a model. Exit status 2."""


class StateError(TentpoleError):
    """The campaign folder cannot be used as it is: other version, locked, damaged. Exit status 2."""


class MachineError(StateError):
    """Nothing is wrong with the input or the folder; what work runs on is broken: workers die before they begin, a
    queue refuses jobs, a program cannot be started, all labels crash alike. Nothing is lost. Exit status 3."""


class LabelError(TentpoleError):
    """A label could not be computed or was not accepted; `reason` is a short code, the text says the rest."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type[LabelError], tuple[str, str]]:
        return type(self), (self.reason, str(self))  # two arguments: survives the way back from a worker


def nearest(given: str, legal: Iterable[str]) -> str:
    """'; did you mean "charge"?' for the legal word nearest to `given`, or '' where none is near."""
    match = difflib.get_close_matches(given, list(legal), n=1, cutoff=0.6)
    return f'; did you mean "{match[0]}"?' if match else ""


def unknown(what: str, given: str, legal: Iterable[str], where: str = "") -> InputError:
    """The error for a word outside a closed set: the word, its nearest neighbour, and the whole set."""
    legal = sorted(legal)
    place = f"{where}: " if where else ""
    return InputError(f'{place}unknown {what} "{given}"{nearest(given, legal) or "."} Legal: {", ".join(legal)}.')


def optional_module(name: str, *, extra: str, needed_by: str = "this") -> Any:
    """Import a module that only part of Tentpole needs.

    Parameters
    ----------
    name : str
        Dotted name of the module, as in "matplotlib.figure".
    extra : str
        The extra of Tentpole that brings it, as in "report".
    needed_by : str
        What asks for it, the subject of the error's sentence.

    Raises
    ------
    InputError
        With the command that installs the extra, where a package is missing; with the import's own words where
        it is there and cannot be imported.

    Examples
    --------
    >>> optional_module("json", extra="report").dumps([1, 2])
    '[1, 2]'
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        missing = (error.name or name).partition(".")[0]
        command = f'pip install "tentpole[{extra}]"'
        raise InputError(f"{needed_by} needs {missing}, which is not installed: {command}") from None
    except ImportError as error:
        raise InputError(f"{needed_by} needs {name}, which cannot be imported: {error}") from error


def import_object(path: str, *, where: str = "") -> Any:
    """Import what `path` names. Only for input that the user trusts: the module is executed.

    Parameters
    ----------
    path : str
        "package.module:name"; `name` may have dots.
    where : str
        File and key that hold `path`, for the error.

    Raises
    ------
    InputError
        Where `path` is not of that form, or the module or the name is not there.

    Examples
    --------
    >>> import_object("math:sqrt")(9.0)
    3.0
    """
    place = f"{where}: " if where else ""
    module, colon, name = path.partition(":")
    words = [*module.split("."), *name.split(".")]
    if not colon or not all(word.isidentifier() for word in words):
        raise InputError(f'{place}"{path}" is not an import path: write "package.module:name"')
    try:
        return pkgutil.resolve_name(path)
    except ModuleNotFoundError as error:
        raise InputError(
            f'{place}"{path}" cannot be imported: there is no module {error.name}. Put {words[0]}.py on PYTHONPATH, or '
            "install the package that it belongs to"
        ) from None
    except (ImportError, AttributeError) as error:
        raise InputError(f'{place}"{path}" cannot be imported: {error}') from None
