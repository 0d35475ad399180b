"""Campaigns: the loop, its rounds, and all that knows what the campaign folder means. Names load on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tentpole.campaign.batches import Failure, Request
    from tentpole.campaign.campaign import Campaign
    from tentpole.campaign.record import CampaignRecord
    from tentpole.campaign.verdict import Verdict

_HOME = {
    "Campaign": "campaign",
    "CampaignRecord": "record",
    "Failure": "batches",
    "Request": "batches",
    "Verdict": "verdict",
}

__all__ = ["Campaign", "CampaignRecord", "Failure", "Request", "Verdict"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
