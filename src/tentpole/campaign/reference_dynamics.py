"""Trajectories that a reference drives itself, one per structure and temperature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from tentpole.campaign.context import Context
from tentpole.config.schema import CheapReferenceSection, ReferenceMDSection
from tentpole.exploration.initial import ReferenceMD
from tentpole.records import state_of


def trajectories(
    context: Context,
    reference: str,
    section: CheapReferenceSection | ReferenceMDSection,
    temperatures_K: Sequence[float],
    purpose: Literal["validation", "pretraining"],
) -> list[ReferenceMD]:
    """The trajectories that share the section's frames evenly; none without a frame."""
    config = context.config
    conditions = [(name, temperature) for name in context.starts for temperature in temperatures_K]
    shares = [
        section.frames // len(conditions) + (i < section.frames % len(conditions)) for i in range(len(conditions))
    ]
    return [
        ReferenceMD(
            reference,
            *state_of(context.starts[name], config.charge, config.multiplicity),
            name,
            context.starts[name],
            temperature,
            share,
            section.every,
            section.timestep_fs,
            config.seed,
            i,
            config.random_numbers,
            context.paths.work / f"{purpose}-{i}",
            purpose,
        )
        for i, ((name, temperature), share) in enumerate(zip(conditions, shares, strict=True))
        if share
    ]
