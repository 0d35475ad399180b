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
