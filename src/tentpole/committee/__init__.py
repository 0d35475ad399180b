"""Committees: many potentials that vote, and what their disagreement says. Names load on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tentpole.committee.disagreement import (
        NonFinite,
        atom_force_std,
        energy_std,
        energy_std_per_atom,
        force_std,
        max_force_std,
        relative_force_std,
        stress_std,
    )

_HOME = {
    "NonFinite": "disagreement",
    "atom_force_std": "disagreement",
    "energy_std": "disagreement",
    "energy_std_per_atom": "disagreement",
    "force_std": "disagreement",
    "max_force_std": "disagreement",
    "relative_force_std": "disagreement",
    "stress_std": "disagreement",
}

__all__ = [
    "NonFinite",
    "atom_force_std",
    "energy_std",
    "energy_std_per_atom",
    "force_std",
    "max_force_std",
    "relative_force_std",
    "stress_std",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
