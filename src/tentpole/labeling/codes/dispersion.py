"""Dispersion corrections: simple-dftd3 and dftd4, by the ASE calculators of their packages."""

from __future__ import annotations

import numpy as np
from typing_extensions import override

from tentpole.labeling.codes.base import AnyCalculator, Setup, SinglePoint


class _DFTD4(AnyCalculator):
    """dftd4 takes the sum of ASE's initial charges for the total one: a keyword it would ignore without a word."""

    @override
    def setup(self, request: SinglePoint) -> Setup:
        atoms = request.atoms.copy()
        if request.charge is not None:
            atoms.set_initial_charges(np.full(len(atoms), request.charge / len(atoms)))
        return Setup(atoms, dict(request.parameters))


class _DFTD3(AnyCalculator):
    """D3 knows no charge."""

    @override
    def setup(self, request: SinglePoint) -> Setup:
        return Setup(request.atoms, dict(request.parameters))


DFTD3, DFTD4 = _DFTD3(spin="none"), _DFTD4(spin="none")
