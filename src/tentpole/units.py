"""The units Tentpole speaks at its edges, and the factors to ASE's own.

Inside: eV, Å, eV/Å, eV/Å³ (ASE sign) as in ASE. At the edges: fs, K, GPa, with the unit in the name.
Factors are ASE's CODATA values (`ase.units`).
"""

from __future__ import annotations

from ase import units as _ase

FS: float = float(_ase.fs)
"""One femtosecond in ASE's time unit (Å sqrt(u/eV))."""

GPA: float = float(_ase.GPa)
"""One gigapascal in eV/Å³."""

KB: float = float(_ase.kB)
"""Boltzmann's constant in eV/K."""


def duration(seconds: float) -> str:
    """A time as one says it.

    >>> duration(3.24), duration(42), duration(220), duration(7500), duration(260000)
    ('3.2 s', '42 s', '3 min 40 s', '2 h 5 min', '3.0 days')
    """
    if seconds < 9.95:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    if seconds < 2 * 86400:
        return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"
    return f"{seconds / 86400:.1f} days"
