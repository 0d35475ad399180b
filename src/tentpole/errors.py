"""Errors that say the value given, what is legal, and the next step."""

from __future__ import annotations

import csv
import difflib
import errno
import os
import pkgutil
import struct
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any


class TentpoleError(Exception):
    """Base of every error Tentpole raises on purpose. The message is meant for the user."""


class InputError(TentpoleError, ValueError):
    """Something the user wrote cannot be used: a key, a file, a structure, a model. Exit status 2."""


class StateError(TentpoleError):
    """The campaign folder cannot be used as it is: other version, locked, damaged. Exit status 2."""


class MachineError(StateError):
    """Nothing is wrong with the input or the folder, but with what work runs on. Exit status 3.

    Workers die before they begin, a queue refuses jobs, a program cannot be started, all labels crash alike. Nothing is
    lost.
    """


class LabelError(TentpoleError):
    """A label could not be computed or was not accepted; `reason` is a short code, the text says the rest."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type[LabelError], tuple[str, str]]:
        return type(self), (self.reason, str(self))  # two arguments: survives the way back from a worker


_WRONG = (LookupError, ValueError, TypeError, AttributeError, ArithmeticError)
"""What code that reads a file raises for content that it does not expect."""
_ROOM = "Make room there; then the same command goes on: what was written so far is whole."
_PERMISSIONS = "Mend the permissions, or name another place."
_OTHER_PLACE = "A file or a folder of another kind is in the way: name another place, or move it away."
_DISK = "The disk, or the network it hangs on, fails: mend that; then the same command goes on."
_ADVICE = {
    errno.ENOENT: "Is the name right?",
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: _ROOM,
    errno.EROFS: "Nothing can be written there: make sure that it is mounted for writing, or name another place.",
    errno.EACCES: _PERMISSIONS,
    errno.EPERM: _PERMISSIONS,
    errno.EEXIST: _OTHER_PLACE,
    errno.ENOTDIR: _OTHER_PLACE,
    errno.EISDIR: "It is a folder, where a file is wanted: name a file.",
    errno.ENOTEMPTY: "Something else writes there: stop that, or name another place.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.ELOOP: "Its symbolic links lead in a circle, or may not be followed: name the file itself.",
    errno.EIO: _DISK,
    errno.ESTALE: _DISK,
    errno.ETIMEDOUT: _DISK,
    errno.EMFILE: "Raise the limit: ulimit -n 4096.",
    errno.ENFILE: "This machine has too many files open: close other programs.",
    errno.ENOMEM: "This machine has no more memory: fewer workers, or another machine.",
    errno.EINVAL: "The name, or what is done there, is not legal on that file system: name another place.",
}


def of_system(error: OSError) -> str:
    """What the operating system refused, in words: the file, the reason, what to do; "" where it names neither."""
    if error.errno is None:
        return ""
    names = " -> ".join(str(name) for name in (error.filename, error.filename2) if name is not None) or "a file"
    return f"{names}: {error.strerror or os.strerror(error.errno)}. {_ADVICE.get(error.errno, '')}".rstrip()


@contextmanager
def reading(path: Path, kind: str = "", *, error: type[TentpoleError] = InputError, remedy: str = "") -> Iterator[None]:
    """Turn whatever goes wrong while a file is read into one error that names it.

    Parameters
    ----------
    path
        The file.
    kind
        What it should be, as in "JSON" or "CSV".
    error
        InputError for a user's file, StateError for one that Tentpole has written.
    remedy
        What to do, the error's last sentence. What the operating system refuses has advice of its own.

    Raises
    ------
    InputError or StateError
        With the file, the key or place in it where that is known, and what to do.

    Examples
    --------
    >>> with reading(Path("x.json"), "JSON", remedy="Write it anew."):
    ...     {}["cell"]
    Traceback (most recent call last):
    ...
    tentpole.errors.InputError: x.json: cannot be read as JSON: it lacks the key "cell". Write it anew.
    """
    try:
        yield
    except error:
        raise
    except InputError as caught:  # of a part that does not know the file
        words = str(caught)
        raise error(words if str(path) in words else f"{path}: {words.rstrip('.')}. {remedy}".rstrip()) from None
    except TentpoleError:
        raise
    except (*_WRONG, OSError, EOFError, RecursionError, MemoryError, zlib.error, csv.Error, struct.error) as caught:
        if isinstance(caught, OSError) and caught.errno is not None:
            caught.filename = caught.filename or str(path)
            if caught.errno == errno.ENOENT and remedy:
                raise error(f"{caught.filename}: is missing. {remedy}") from None
            raise error(of_system(caught)) from None
        as_kind = f" as {kind}" if kind else ""
        raise error(f"{path}: cannot be read{as_kind}: {_what_is_wrong(caught)}. {remedy}".rstrip()) from None


def _what_is_wrong(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return f'it lacks the key "{error.args[0] if error.args else ""}"'
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8 text (byte {error.object[error.start]:#04x} at place {error.start})"
    if isinstance(error, RecursionError):
        return "its lists or tables lie too deep in one another"
    if isinstance(error, MemoryError):
        return "it does not fit into memory"
    if isinstance(error, (zlib.error, EOFError)):
        return f"its compressed data are damaged or cut off ({error})"
    return (
        f"{error}" if type(error) is ValueError or isinstance(error, csv.Error) else f"{type(error).__name__}: {error}"
    )


def nearest(given: str, legal: Iterable[str]) -> str:
    """'; did you mean "charge"?' for the legal word nearest to `given`, or '' where none is near."""
    match = difflib.get_close_matches(given, list(legal), n=1, cutoff=0.6)
    return f'; did you mean "{match[0]}"?' if match else ""


def unknown(what: str, given: str, legal: Iterable[str], where: str = "") -> InputError:
    """The error for a word outside a closed set: the word, its nearest neighbour, and the whole set."""
    legal = sorted(legal)
    place = f"{where}: " if where else ""
    return InputError(f'{place}unknown {what} "{given}"{nearest(given, legal) or "."} Legal: {", ".join(legal)}.')


def optional_module(name: str, *, extra: str = "", command: str = "", needed_by: str = "this") -> Any:
    """Import a module that only part of Tentpole needs.

    Parameters
    ----------
    name : str
        Dotted name of the module, as in "matplotlib.figure".
    extra : str
        The extra of Tentpole that brings it, as in "report".
    command : str
        What installs it where no extra does.
    needed_by : str
        What asks for it, the subject of the error's sentence.

    Raises
    ------
    InputError
        With the command that installs it, where a package is missing; with the import's own words where it is
        there and cannot be imported.

    Examples
    --------
    >>> optional_module("json", extra="report").dumps([1, 2])
    '[1, 2]'
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise _missing(error.name or name, extra, command, needed_by) from None
    except ImportError as error:
        raise InputError(f"{needed_by} needs {name}, which cannot be imported: {error}") from error


def require_module(name: str, *, extra: str = "", command: str = "", needed_by: str = "this") -> None:
    """Raise InputError as `optional_module` does where the module is not installed; it is not imported."""
    if find_spec(name) is None:
        raise _missing(name, extra, command, needed_by)


def _missing(name: str, extra: str, command: str, needed_by: str) -> InputError:
    package = name.partition(".")[0]
    how = command or f'pip install "tentpole[{extra}]"'
    return InputError(f"{needed_by} needs {package}, which is not installed: {how}")


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
