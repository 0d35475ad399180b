"""Members with the bodies of trained models and readouts of their own, so that they differ from the start.

Copies of one model agree exactly, and their spread is zero whatever the error. Readouts are few weights, which a few
labels teach; what the body has learned stays, also where another quantity is to be read out: the difference to a
baseline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tentpole.committee.committee_files import write_committee_file
from tentpole.committee.member_files import read_network, write_member


def write_fresh_members(
    starts: Sequence[Path], folder: Path, seeds: Sequence[int], baseline: Mapping[str, Any] | None = None
) -> None:
    """Write a member to `folder` for each seed: one of the models `starts`, in turn, with random readouts.

    The readouts are as mace draws them at first. baseline : facts of what the members are to learn the difference to.
    """
    import torch

    names = [f"member-{number}" for number in range(len(seeds))]
    for number, (name, seed) in enumerate(zip(names, seeds, strict=True)):
        start = starts[number % len(starts)]
        model, _ = read_network(start)
        numbers = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weight in model.readouts.parameters():
                weight.copy_(torch.randn(weight.shape, generator=numbers, dtype=torch.float64))
        told = {"start": start.name, "seed": seed, "readouts": "fresh"}
        write_member(folder / name, model, training=told, baseline=baseline)
    write_committee_file(folder, names)
