"""Members from one model: its body in all of them, each with readouts of its own, so that they differ from the start.

Copies of one model agree exactly, and their spread is zero whatever the error. Readouts are few weights, which a few
labels teach; what the body has learned stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tentpole.committee.committee_files import write_committee_file
from tentpole.committee.member_files import read_member, write_member


def write_fresh_members(start: Path, folder: Path, seeds: Sequence[int]) -> None:
    """Write a member to `folder` for each seed: the model `start` with random readouts, as mace draws them at first."""
    import torch

    names = [f"member-{number}" for number in range(len(seeds))]
    for name, seed in zip(names, seeds, strict=True):
        model, _ = read_member(start)
        numbers = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weight in model.readouts.parameters():
                weight.copy_(torch.randn(weight.shape, generator=numbers, dtype=torch.float64))
        write_member(folder / name, model, training={"start": start.name, "seed": seed, "readouts": "fresh"})
    write_committee_file(folder, names)
