"""Members to go on from: the bodies of trained models with readouts of their own, so that they differ from the start.

Copies of one model agree exactly, and their spread is zero whatever the error. Readouts are few weights, which a few
labels teach; what the body has learned stays, also where another quantity is to be read out: the difference to a
baseline.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tentpole.committee.committee_files import member_stems, write_committee_file
from tentpole.committee.member_files import read_description, read_network, write_member
from tentpole.training.settings import MACESettings

GENTLE = 4
"""By so much the rate is lower at which whole members first meet labels of another method: they know the way."""


def first_settings(settings: MACESettings, start: Path, labels: int) -> MACESettings:
    """The settings of the first training on labels that goes on from the committee in the folder `start`.

    As long as one from random weights. Fresh readouts learn at the rates of one that goes on; whole members, where all
    their weights change and no rate is given, at a lower one, so that ten labels do not undo what they know.
    """
    again = replace(settings, updates_warm=settings.updates_of(labels, warm=False))
    told = read_description(member_stems(start)[0]).get("training", {})
    if told.get("readouts") == "fresh" or settings.finetuning != "naive" or settings.lr_warm is not None:
        return again
    return replace(again, lr_warm=again.rates(warm=True)[0] / GENTLE)


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
