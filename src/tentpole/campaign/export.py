"""What a campaign has made, for other programs: its data and its models."""

from __future__ import annotations

import io
from pathlib import Path

from tentpole.campaign.batches import labels_of, read_outcome
from tentpole.campaign.paths import CampaignPaths
from tentpole.errors import InputError
from tentpole.storage.atomic import atomic_write
from tentpole.storage.structures import labelled_atoms, write_frames


def export_campaign(root: Path, out: Path) -> list[Path]:
    """Write what a campaign has made to `out`, and return the paths.

    That is dataset.extxyz, the newest members, and each as a .model file that MACE's ASE calculator and LAMMPS export
    read. Each file is written beside its place and moved there whole.
    """
    from tentpole.committee.committee_files import member_stems

    paths = CampaignPaths(root)
    if not paths.outcome(0).exists():
        raise InputError(f"{root}: has no labels yet. Go on with: tentpole run {root}")
    out.mkdir(parents=True, exist_ok=True)
    labels, number = [], 0
    while paths.outcome(number).exists():
        labels += labels_of(paths, read_outcome(paths, number))
        number += 1
    made = [out / "dataset.extxyz"]
    write_frames(made[0], [labelled_atoms(label) for label in labels])
    for stem in member_stems(root):
        made += export_member(stem, out)
    return made


def export_member(stem: Path, out: Path) -> list[Path]:
    """Write the member `stem` to `out`, as its own two files and as a .model file."""
    import torch

    from tentpole.committee.member_files import read_member

    model, _ = read_member(stem)
    pickled = io.BytesIO()
    torch.save(model, pickled)
    files = {suffix: stem.with_suffix(suffix).read_bytes() for suffix in (".safetensors", ".json")}
    made = []
    for suffix, content in {**files, ".model": pickled.getvalue()}.items():
        made.append(out / f"{stem.name}{suffix}")
        if not (suffix in files and made[-1].exists() and made[-1].samefile(stem.with_suffix(suffix))):
            atomic_write(made[-1], content)
    return made
