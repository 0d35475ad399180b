"""Ramps: a walker's temperature, pressure and cell as a function of how far it has come."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms
from ase.stress import voigt_6_to_full_3x3_stress

from tentpole.records import Condition, FloatArray

STAIR = 10
"""MD steps between two changes of the cell: each change costs an evaluation of the driver."""


@dataclass(frozen=True, slots=True)
class RampPoint:
    """What holds at one point of a ramp; between two points it changes linearly.

    Parameters
    ----------
    at : float
        Share of the ramp, 0 to 1.
    temperature_K : float
        K.
    pressure_GPa : float, optional
        GPa; None where the cell is fixed.
    strain : tuple of 6 floats
        Components xx, yy, zz, yz, xz, xy of the symmetric strain tensor against the starting structure.
    """

    at: float
    temperature_K: float
    pressure_GPa: float | None = None
    strain: tuple[float, ...] = (0.0,) * 6


@dataclass(frozen=True, slots=True)
class Ramp:
    """A schedule of temperature, pressure and cell over a walker's steps; what holds at its end holds from there on.

    Parameters
    ----------
    points : tuple of RampPoint
        In the order of `at`, from 0 to 1.
    steps : int
        MD steps of the whole ramp.
    cell : tuple of 9 floats, optional
        Cell of the starting structure in Å, row by row, which strains are of; None: the cell is left alone.

    Examples
    --------
    >>> from tentpole.exploration.ramps import Ramp, RampPoint
    >>> from tentpole.records import Condition
    >>> melt = Ramp((RampPoint(0.0, 300.0), RampPoint(1.0, 1500.0)), steps=1000)
    >>> melt.condition(Condition("NaCl", 300.0, ramp="melt"), 250).temperature_K
    600.0
    """

    points: tuple[RampPoint, ...]
    steps: int
    cell: tuple[float, ...] | None = None

    def condition(self, condition: Condition, step: int) -> Condition:
        """The condition with temperature and pressure of a step.

        Parameters
        ----------
        condition : Condition
            The walker's.
        step : int
            Of the walker.

        Returns
        -------
        Condition
        """
        temperature = self._at(step, [point.temperature_K for point in self.points])
        pressure = condition.pressure_GPa
        if pressure is not None:
            known = [point.pressure_GPa for point in self.points]
            pressure = self._at(step, [pressure if one is None else one for one in known])
        return replace(condition, temperature_K=temperature, pressure_GPa=pressure)

    def deform(self, atoms: Atoms, step: int) -> bool:
        """Give `atoms` the cell of a step, which moves them along.

        Parameters
        ----------
        atoms : ase.Atoms
            Changed in place.
        step : int
            Of the walker. The cell changes every tenth step, and depends on nothing else.

        Returns
        -------
        bool
            Whether the cell was another.
        """
        if self.cell is None:
            return False
        cell = self._strained(np.reshape(self.cell, (3, 3)), step - step % STAIR)
        if (cell == atoms.cell.array).all():
            return False
        atoms.set_cell(cell, scale_atoms=True)
        return True

    def _strained(self, cell: FloatArray, step: int) -> FloatArray:
        strains = np.array([point.strain for point in self.points])
        strain = voigt_6_to_full_3x3_stress([self._at(step, column) for column in strains.T])  # shear not doubled
        return np.asarray(cell @ (np.eye(3) + strain))

    def _at(self, step: int, values: object) -> float:
        share = min(1.0, step / self.steps)
        return float(np.interp(share, [point.at for point in self.points], np.asarray(values, dtype=float)))
