"""Where a key of the selection rule leaves most of a batch empty, and what to change."""

from __future__ import annotations

from collections.abc import Sequence

from tentpole.campaign.facts import BatchFacts
from tentpole.config.schema import CampaignConfig

IN_A_ROW = 2
"""Rounds that a key must have starved before it is named."""


def starving(rounds: Sequence[BatchFacts], config: CampaignConfig) -> str:
    """The key that starved the batch in each of the last two of `rounds`, and what to change; "" for none.

    A batch is starved where the rule filled less than half of the places that were left to it.
    """
    last = rounds[-IN_A_ROW:]
    keys = {_starving_key(facts, config) for facts in last}
    if len(last) < IN_A_ROW or len(keys) != 1:
        return ""
    key, funnel, section = keys.pop(), last[-1].funnel, config.selection
    if not key or funnel is None:
        return ""
    picked = (
        f"the rule filled {' and '.join(str(_picked(facts)) for facts in last)} places of {_places(last[-1], config)}"
    )
    if key == "gain":
        return (
            f"{picked} in the last rounds: its second key, a gain of at least {funnel.floor:.3g}, let only "
            f"{funnel.new} of {funnel.uncertain} uncertain candidates pass. If errors are above the target, leave "
            "selection.settings.gain out: the gain then ranks, and vetoes nothing"
        )
    if key == "sigma":
        stated = section.settings.get("sigma") is not None
        change = "selection.settings.sigma" if stated else "[target] force_error_eV_per_A or miss_rate"
        return (
            f"{picked} in the last rounds: its first key, a σ_F of at least {1000 * (funnel.threshold or 0.0):.3g} "
            f"meV/Å, let only {funnel.uncertain} of {funnel.candidates} candidates pass: the committee thinks the "
            f"others within the target. To label more, lower {change}; to find harder frames, raise the temperatures "
            "or the bias in [explore]"
        )
    return (
        f"{picked} in the last rounds, of {funnel.candidates} candidates: a quota per condition "
        '(selection.settings.quota, "none" lifts it) or too few candidates (explore.steps, snapshot_every)'
    )


def _starving_key(facts: BatchFacts, config: CampaignConfig) -> str:
    funnel, places = facts.funnel, _places(facts, config)
    if funnel is None or facts.final_look or 2 * funnel.picked >= places:
        return ""
    if 2 * funnel.uncertain < places:
        return "sigma"
    return "gain" if 2 * funnel.new < places else "rest"


def _places(facts: BatchFacts, config: CampaignConfig) -> int:
    """What a batch left to the rule beside its audit frames."""
    section = config.selection
    first = facts.audits if section.evidence == "labels" else min(section.audits, facts.wanted)
    return facts.wanted - (first if section.audit > 0 else 0)


def _picked(facts: BatchFacts) -> int:
    return 0 if facts.funnel is None else facts.funnel.picked
