"""Gaussian widths of the overlap fingerprint: covalent radii, Å.

WebElements' covalent radii (R. T. Sanderson 1962; L. E. Sutton 1965; Huheey, Keiter and Keiter 1993), the
set that Gaussian-overlap fingerprints have used from the start (Sadeghi et al. 2013), as far as it goes:
H to La, Lu to Bi, and Rn. Ce to Yb, Po, At and Fr to Cm, which it lacks, take the radii of Cordero et al.,
Dalton Trans. 2832 (2008), as ASE carries them. Beyond Cm there is none.
"""

from __future__ import annotations

import numpy as np
from ase.data import chemical_symbols
from ase.data import covalent_radii as _cordero

from tentpole.errors import InputError
from tentpole.records import FloatArray

_WEBELEMENTS_H_TO_LA = (
    "0.37 0.32 1.34 0.90 0.82 0.77 0.75 0.73 0.71 0.69 1.54 1.30 1.18 1.11 1.06 1.02 0.99 0.97 "
    "1.96 1.74 1.44 1.36 1.25 1.27 1.39 1.25 1.26 1.21 1.38 1.31 1.26 1.22 1.19 1.16 1.14 1.10 "
    "2.11 1.92 1.62 1.48 1.37 1.45 1.56 1.26 1.35 1.31 1.53 1.48 1.44 1.41 1.38 1.35 1.33 1.30 "
    "2.25 1.98 1.69"
)
_WEBELEMENTS_LU_TO_BI = "1.60 1.50 1.38 1.46 1.59 1.28 1.37 1.28 1.44 1.49 1.48 1.47 1.46"
_WEBELEMENTS_RN = 1.45
_HEAVIEST = 96


def _table() -> FloatArray:
    radii = np.full(_HEAVIEST + 1, np.nan)
    radii[1:] = _cordero[1 : _HEAVIEST + 1]
    radii[1:58] = [float(word) for word in _WEBELEMENTS_H_TO_LA.split()]
    radii[71:84] = [float(word) for word in _WEBELEMENTS_LU_TO_BI.split()]
    radii[86] = _WEBELEMENTS_RN
    return radii


COVALENT_RADII: FloatArray = _table()
"""Å, by atomic number; NaN at 0."""


def gaussian_widths(numbers: np.ndarray) -> FloatArray:
    """Width σ in Å of each atom's Gaussian. Raises InputError for an element without a covalent radius."""
    numbers = np.asarray(numbers)
    bad = sorted({int(z) for z in numbers if not 1 <= z <= _HEAVIEST})
    if bad:
        names = ", ".join(chemical_symbols[z] if 0 <= z < len(chemical_symbols) else str(z) for z in bad)
        raise InputError(
            f"no covalent radius for {names}: fingerprints know H (1) to Cm (96). "
            "Leave these atoms out, or give widths of your own: GOM(cutoff, widths={atomic number: Å})."
        )
    return np.asarray(COVALENT_RADII[numbers])
