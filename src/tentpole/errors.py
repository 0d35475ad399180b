"""Errors that say the value given, what is legal, and the next step."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class TentpoleError(Exception):
    """Base of every error Tentpole raises on purpose. The message is meant for the user."""


class InputError(TentpoleError):
    """Something the user wrote cannot be used: a key, a file, a structure, a model. Exit status 2."""


class StateError(TentpoleError):
    """The campaign folder cannot be used as it is: other version, locked, damaged. Exit status 2."""


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
