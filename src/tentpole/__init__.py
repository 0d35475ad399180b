"""Tentpole grows training sets for interatomic potentials from inside ASE.

The public names load on first use, so that importing this package does nothing and takes no time.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tentpole.campaign.campaign import Campaign
    from tentpole.campaign.record import CampaignRecord
    from tentpole.committee import Committee, CommitteeCalculator
    from tentpole.config.schema import CampaignConfig
    from tentpole.entropy import GOM, Covariance, EntropyBias
    from tentpole.training.network_voter import faster

__version__ = "0.1.0"

_HOME = {
    "Campaign": "tentpole.campaign.campaign",
    "CampaignConfig": "tentpole.config.schema",
    "CampaignRecord": "tentpole.campaign.record",
    "Committee": "tentpole.committee",
    "CommitteeCalculator": "tentpole.committee",
    "Covariance": "tentpole.entropy",
    "EntropyBias": "tentpole.entropy",
    "GOM": "tentpole.entropy",
    "faster": "tentpole.training.network_voter",
}

__all__ = [
    "GOM",
    "Campaign",
    "CampaignConfig",
    "CampaignRecord",
    "Committee",
    "CommitteeCalculator",
    "Covariance",
    "EntropyBias",
    "__version__",
    "faster",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'tentpole' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
