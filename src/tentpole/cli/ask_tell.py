"""A campaign's ask and tell on files: structures that want a label as extended XYZ, and what any code answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms

from tentpole.campaign import Campaign, Failure, Request
from tentpole.errors import InputError
from tentpole.records import Label, bare
from tentpole.storage.labelled import read_labelled
from tentpole.storage.labels import is_name
from tentpole.storage.structures import read_structures, write_frames

SAME_A = 1e-4
"""Two positions or cells are the same that differ by less, in Å: codes and files round them."""


def write_asked(requests: Sequence[Request], out: Path) -> list[Path]:
    """Write each structure to `out` under its label's name; files of structures that no longer wait are removed.

    A file's info has `request` (that name), `id`, `reason`, and `charge` and `multiplicity` where they are stated.
    """
    out.mkdir(parents=True, exist_ok=True)
    asked = {request.name for request in requests}
    for file in out.glob("*.extxyz"):
        if is_name(file.stem) and file.stem not in asked:
            file.unlink()
    files = []
    for request in requests:
        atoms = bare(request.atoms)
        atoms.info |= {"request": request.name, "id": request.id, "reason": request.reason}
        stated = {"charge": request.charge, "multiplicity": request.multiplicity}
        atoms.info |= {name: value for name, value in stated.items() if value is not None}
        files.append(out / f"{request.name}.extxyz")
        write_frames(files[-1], [atoms])
    return files


def answers_in(files: Sequence[Path], asked: Mapping[str, Request]) -> list[Label]:
    """The labels in files of any format that ASE reads, of structures that were asked for.

    Which structure a frame is, its `request` in info says, or the name of its file up to the first dot, or that of the
    folder that the file lies in.

    Raises
    ------
    InputError
        For a file without a finite energy and forces, of a structure that was not asked for, or whose atoms are not
        those that were asked for.
    """
    return [label for file in files for label in _answers(file, asked)]


def failures_of(words: Sequence[str], asked: Mapping[str, Request]) -> list[Failure]:
    """Failures from words NAME=REASON, where NAME may be a file that was written for the structure."""
    failures = []
    for word in words:
        name, equals, reason = word.partition("=")
        if not equals or not reason.strip():
            raise InputError(f"--failed {word}: write NAME=REASON, as in --failed asked/NAME.extxyz=unconverged")
        failures.append(_asked([_stem(Path(name))], asked, f"--failed {word}").failed(reason.strip()))
    return failures


def _answers(file: Path, asked: Mapping[str, Request]) -> list[Label]:
    frames = read_structures(file, ":", str(file), finite=False)
    known = read_labelled(file)
    labels = []
    for k, atoms in zip(known.indices, known.frames, strict=True):
        names = [str(frames[k].info.get("request", "")), _stem(file), file.resolve().parent.name]
        request = _asked(names, asked, f"{file}, frame {k}")
        _refuse_other_atoms(atoms, request.atoms, f"{file}, frame {k}")
        energy, forces = atoms.info["REF_energy"], atoms.arrays["REF_forces"]
        labels.append(request.label(energy, forces, atoms.info.get("REF_stress"), told_from=file.name))
    return labels


def _stem(file: Path) -> str:
    return file.name.partition(".")[0]


def _asked(names: Sequence[str], asked: Mapping[str, Request], where: str) -> Request:
    for name in names:
        if name in asked:
            return asked[name]
    raise InputError(
        f"{where}: is of no structure that waits for a label. Name the file as the one that was asked, NAME.extxyz or "
        "NAME.anything, or keep request=NAME in its info, or put it into a folder NAME."
    )


def _refuse_other_atoms(atoms: Atoms, wanted: Atoms, where: str) -> None:
    same = (
        len(atoms) == len(wanted)
        and bool((atoms.numbers == wanted.numbers).all())
        and bool(np.allclose(atoms.positions, wanted.positions, rtol=0, atol=SAME_A))
        and (not wanted.pbc.any() or bool(np.allclose(atoms.cell.array, wanted.cell.array, rtol=0, atol=SAME_A)))
    )
    if not same:
        raise InputError(
            f"{where}: has other atoms, positions or cell than the structure that was asked for: label it as it is, "
            "atoms in the same order, not relaxed"
        )


def tell_files(campaign: Campaign, files: Sequence[Path], failed: Sequence[str]) -> tuple[int, int, int]:
    """Tell a campaign what is in files, and failures as NAME=REASON.

    Returns
    -------
    tuple of int
        Labels told, failures told, and structures that still wait.
    """
    asked = {request.name: request for request in campaign.waiting(answered=True)}
    labels, failures = answers_in(files, asked), failures_of(failed, asked)
    campaign.tell([*labels, *failures])
    return len(labels), len(failures), len(campaign.waiting())
