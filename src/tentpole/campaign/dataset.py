"""The dataset as fingerprints: rows of each label, and their covariance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tentpole.records import FloatArray, Label

if TYPE_CHECKING:
    from tentpole.config.schema import CampaignConfig
    from tentpole.entropy import GOM, Covariance


def fingerprint_rows(config: CampaignConfig, labels: Sequence[Label]) -> tuple[GOM, list[FloatArray]]:
    """The fingerprint of the campaign, and its rows of each label."""
    from tentpole.entropy import GOM

    fingerprint = GOM(config.fingerprint.cutoff, n_max=config.fingerprint.n_max)
    return fingerprint, [fingerprint.fingerprints(label.atoms) for label in labels]


def covariance_of(config: CampaignConfig, rows: Sequence[FloatArray]) -> Covariance:
    """The fingerprint covariance of a dataset, from the rows of its labels."""
    from tentpole.entropy import Covariance

    covariance = Covariance(config.fingerprint.mode, config.fingerprint.eps)
    for block in rows:
        covariance.add(block)
    return covariance
