"""The steps of the loop on files: score structures, export a campaign's data and models."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ase.io import write as ase_write

from tentpole import batches
from tentpole.config import read_structures
from tentpole.errors import InputError
from tentpole.phases import labelled_atoms
from tentpole.state import bare


@dataclass(frozen=True, slots=True)
class Counts:
    """How many frames were scored, how many failed, and why."""

    scored: int
    failed: int
    reasons: dict[str, int]


def score_file(
    structures: Path, models: Sequence[Path], dataset: Path | None, out: Path, cutoff: float, eps: float
) -> Counts:
    """Write `structures` to `out` as extended XYZ with energy_std (eV), energy_std_per_atom (eV/atom),
    force_std and max_force_std (eV/Å) and gain in info; a frame that cannot be scored has failed = reason.

    Non-finite coordinates cannot be written as numbers that others read: such a frame keeps them.
    """
    from tentpole.committee import Committee
    from tentpole.entropy import GOM, Covariance
    from tentpole.scoring import score

    frames = read_structures(structures, ":", "STRUCTURES", finite=False)
    fingerprint, covariance = GOM(cutoff), Covariance(eps=eps)
    for known in read_structures(dataset, ":", "--dataset") if dataset is not None else []:
        covariance.add(fingerprint.fingerprints(known))
    committee = Committee.load([str(path) for path in models])
    results = score(frames, committee, fingerprint, covariance)
    written = []
    for atoms, scores in zip(frames, results, strict=True):
        plain = bare(atoms)
        plain.info["failed"] = scores.failed
        if not scores.failed:
            del plain.info["failed"]
            for name in ("energy_std", "energy_std_per_atom", "force_std", "max_force_std", "gain"):
                plain.info[name] = getattr(scores, name)
        written.append(plain)
    ase_write(out, written, format="extxyz")
    reasons = Counter(scores.failed for scores in results if scores.failed)
    failed = sum(reasons.values())
    return Counts(len(frames) - failed, failed, dict(reasons.most_common()))


def export_campaign(root: Path, out: Path) -> list[Path]:
    """Write what a campaign has made to `out`: dataset.extxyz, the newest members, and each as a .model file
    that MACE's ASE calculator and LAMMPS export read. Returns the paths."""
    from tentpole.committee.committee import member_stems
    from tentpole.committee.members import read_member

    if not batches.is_closed(root, 0):
        raise InputError(f"{root}: has no labels yet. Go on with: tentpole run {root}")
    out.mkdir(parents=True, exist_ok=True)
    labels, round = [], 0
    while batches.is_closed(root, round):
        labels += batches.labels_of(root, round)
        round += 1
    made = [out / "dataset.extxyz"]
    ase_write(made[0], [labelled_atoms(label) for label in labels], format="extxyz")
    for stem in member_stems(root):
        for suffix in (".safetensors", ".json"):
            made.append(Path(shutil.copy2(stem.with_suffix(suffix), out)))
        import torch

        model, _ = read_member(stem)
        made.append(out / f"{stem.name}.model")
        torch.save(model, made[-1])
    return made
