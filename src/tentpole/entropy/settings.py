"""Which fingerprint and which covariance: plain settings, and what is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from tentpole.entropy.covariance import Covariance, Mode
from tentpole.errors import InputError, unknown
from tentpole.records import FloatArray

if TYPE_CHECKING:
    from tentpole.committee import Committee
    from tentpole.entropy.fingerprint import Fingerprint

_NARROWEST = 1e-3
"""A feature's smallest scale, as a share of the largest: what hardly varies is not blown up to noise."""


@dataclass(frozen=True, slots=True)
class FingerprintSettings:
    """Fingerprints of atomic environments, and their covariance, for gain and bias.

    Parameters
    ----------
    kind : {"gom", "mace"}
        Gaussian overlap matrix, or the node features of the committee's first member.
    cutoff : float
        Å, of the overlap matrix.
    n_max : int
        Eigenvalues per atom of the overlap matrix.
    contrast : float
        How strongly the overlap matrix tells species apart beyond their covalent radii: an atom's amplitude is
        (Z/Z_centre)^contrast. 0: by the radii alone. Neighbours in the periodic table want 1 to 3: with 20 thermal
        frames of iron known, one of Fe-Co gains 0.01 to 0.02 at 0, 0.06 to 0.08 at 1 and 0.45 at 3, one more of iron
        -0.005 to 0.04.
    per_species : bool
        Each species' environments in a block of their own: a species or composition not seen before widens the
        dataset, however alike the radii. The cost of a gain grows with the number of species cubed.
    mode : {"per-atom", "per-config"}
        Every atom's row counts (disordered matter), or their mean over a configuration (ordered matter).
    eps : float
        Variance below which a direction counts as noise, in squared units of the rows (of standard deviations over
        the dataset, for "mace").

    Raises
    ------
    InputError
        For settings that do not go together.
    """

    kind: Literal["gom", "mace"] = "gom"
    cutoff: float = 5.0
    n_max: int = 50
    contrast: float = 0.0
    per_species: bool = False
    mode: Mode = "per-atom"
    eps: float = 1e-3

    def __post_init__(self) -> None:
        if self.kind not in ("gom", "mace"):
            raise unknown("fingerprint", str(self.kind), ["gom", "mace"])
        if self.kind == "mace" and self.contrast:
            raise InputError(f'contrast = {self.contrast:g} belongs to the fingerprint "gom": leave it out for "mace".')
        if not (np.isfinite(self.contrast) and self.contrast >= 0):
            raise InputError(f"contrast must be a finite number of at least 0, got {self.contrast}. 1 to 3 suit.")


def make_fingerprint(
    settings: FingerprintSettings, species: Sequence[int] = (), committee: Committee | None = None
) -> Fingerprint:
    """Make the fingerprint of these settings.

    Parameters
    ----------
    settings : FingerprintSettings
    species : sequence of int
        Atomic numbers that structures may hold; for `per_species` alone.
    committee : Committee, optional
        Whose first member's features are taken; for "mace" alone.

    Returns
    -------
    Fingerprint

    Raises
    ------
    InputError
        Where the species or the committee is needed and not given.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from tentpole.entropy import FingerprintSettings, make_fingerprint
    >>> salt = bulk("NaCl", "rocksalt", a=5.64)
    >>> make_fingerprint(FingerprintSettings(n_max=20)).fingerprints(salt).shape
    (2, 20)
    >>> make_fingerprint(FingerprintSettings(n_max=20, per_species=True), [11, 17]).fingerprints(salt).shape
    (2, 40)
    """
    from tentpole.entropy.gom.fingerprint import GOM  # compiled code: seconds that reading settings need not take
    from tentpole.entropy.mace_features import MaceFeatures
    from tentpole.entropy.species_blocks import SpeciesBlocks

    if settings.kind == "mace":
        if committee is None:
            raise InputError('fingerprint "mace" needs a trained committee: give committee=Committee.load(...).')
        base: Fingerprint = MaceFeatures(committee)
    else:
        base = GOM(settings.cutoff, n_max=settings.n_max, contrast=settings.contrast)
    return SpeciesBlocks(base, tuple(species)) if settings.per_species else base


def make_covariance(settings: FingerprintSettings, blocks: Sequence[FloatArray] = ()) -> Covariance:
    """Make the covariance of these settings, with the rows of a dataset in it.

    Parameters
    ----------
    settings : FingerprintSettings
    blocks : sequence of (N_i, d) arrays
        Fingerprint rows of each configuration of the dataset.

    Returns
    -------
    Covariance
        For "mace" in units of each feature's standard deviation over the dataset.
    """
    scale = None
    if settings.kind == "mace" and len(blocks):
        width = np.concatenate(list(blocks)).std(axis=0)
        scale = np.maximum(width, max(_NARROWEST * float(width.max()), np.finfo(float).tiny))
    covariance = Covariance(settings.mode, settings.eps, scale=scale)
    for block in blocks:
        covariance.add(block)
    return covariance
