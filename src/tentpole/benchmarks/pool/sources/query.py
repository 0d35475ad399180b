"""What is asked of a database, and in whose words the answer is recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ase.data import atomic_numbers

from tentpole.errors import InputError, nearest

# (database, rows so far, rows expected)
Progress = Callable[[str, int, int], None]


def silent(database: str, done: int, total: int) -> None:
    """The Progress that shows nothing."""


@dataclass(frozen=True)
class Query:
    """Materials that contain all `elements`; with `exact`, these and no others. At most `limit` rows."""

    elements: tuple[str, ...]
    exact: bool = False
    limit: int = 500

    def __post_init__(self) -> None:
        if not self.elements:
            raise InputError("no elements given. Legal: --elements Si, --elements Ti,O, or --chemsys Ti-O.")
        for element in self.elements:
            if element not in atomic_numbers or element == "X":
                near = nearest(element.capitalize(), atomic_numbers)
                raise InputError(f'there is no element "{element}"{near} Write symbols, such as Ti,O.')
        if len(set(self.elements)) < len(self.elements):
            raise InputError(f"elements {', '.join(self.elements)}: one is named twice.")
        if self.limit < 1:
            raise InputError(f"{self.limit} rows asked, legal is 1 or more.")

    @property
    def chemsys(self) -> str:
        """The elements in alphabetical order, with dashes: O-Ti."""
        return "-".join(sorted(self.elements))

    def __str__(self) -> str:
        return f"chemsys = {self.chemsys}" if self.exact else f"contains {', '.join(self.elements)}"
