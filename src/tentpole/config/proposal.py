"""A commented campaign file to start from, its sizes proposed from the structures."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.emt import parameters as emt_elements
from ase.geometry import get_distances
from ase.neighborlist import neighbor_list

from tentpole.config.loading import resolve
from tentpole.errors import InputError
from tentpole.labeling import references
from tentpole.storage.structures import read_structures

BATCH, ROUNDS = 30, 10
CHEAP = ("ase.calculators.emt", "ase.calculators.lj", "tblite", "tentpole.labeling.mock")
"""Calculators that label in less than a second, so that a validation set costs nothing."""


@dataclass(frozen=True)
class Sizes:
    """What a campaign file proposes for its structures."""

    r_max_A: float
    timestep_fs: float
    initial: int
    max_gap_A: float | None


def propose(
    files: Sequence[Path], out: Path, reference: str | None, charge: int | None, multiplicity: int | None
) -> str:
    """A campaign file for the structures in `files`, to be written to `out`; it passes `load`.

    Raises InputError for structures that cannot be read and for what the reference needs and nobody stated.
    """
    starts = {file: read_structures(file, ":", str(file)) for file in files}
    if not starts:
        raise InputError("name at least one file with a structure")
    structures = [frames[-1] for frames in starts.values()]
    method = reference or usual_reference(structures)
    text = _text(starts, out, method, charge, multiplicity, sizes(structures))
    resolve(tomllib.loads(text), out)
    return text


def missing_physics(files: Sequence[Path], reference: str | None) -> list[str]:
    """What of charge and multiplicity must be stated for these structures."""
    structures = [read_structures(file, ":", str(file))[-1] for file in files]
    method = references.load(reference or usual_reference(structures))
    needed = set(method.requires)
    for atoms in structures:
        needed |= set() if atoms.pbc.any() else set(method.requires_for_molecules)
    return [word for word in ("charge", "multiplicity") if word in needed]


def usual_reference(structures: Sequence[Atoms]) -> str:
    """A reference to try with: xTB for molecules, EMT for the metals it knows, else CHGNet."""
    if not any(atoms.pbc.any() for atoms in structures):
        return "xtb"
    elements = {symbol for atoms in structures for symbol in atoms.get_chemical_symbols()}
    return "emt" if elements <= set(emt_elements) - set("HCNO") else "chgnet"


def sizes(structures: Sequence[Atoms]) -> Sizes:
    """Cutoff from the nearest neighbours, time step from the lightest element, gap from the bonds."""
    apart = max(_widest_neighbour(atoms) for atoms in structures)
    clusters = [_gap(atoms) for atoms in structures if not atoms.pbc.any() and len(atoms) > 1]
    light = any(1 in atoms.numbers for atoms in structures)
    return Sizes(
        r_max_A=min(6.0, max(4.5, round(4 * apart) / 2)),
        timestep_fs=0.5 if light else 1.0,
        initial=max(12, 4 * len(structures)),
        max_gap_A=round(max(clusters) + 1.0, 1) if clusters and len(clusters) == len(structures) else None,
    )


def _widest_neighbour(atoms: Atoms) -> float:
    """The distance from an atom to its nearest neighbour, where that is largest, in Å; 2.5 for a lone atom."""
    first, distance = neighbor_list("id", atoms, 6.0)
    nearest = np.full(len(atoms), np.inf)
    np.minimum.at(nearest, first, distance)
    known = nearest[np.isfinite(nearest)]
    return float(known.max()) if len(known) else 2.5


def _gap(atoms: Atoms) -> float:
    """The longest bond that holds a cluster together, in Å."""
    from scipy.sparse.csgraph import minimum_spanning_tree

    return float(minimum_spanning_tree(get_distances(atoms.positions)[1]).toarray().max())


def _text(
    starts: dict[Path, list[Atoms]],
    out: Path,
    method: str,
    charge: int | None,
    multiplicity: int | None,
    size: Sizes,
) -> str:
    def beside(path: str) -> str:
        return json.dumps(os.path.relpath(Path(path).resolve(), out.resolve().parent), ensure_ascii=False)

    reference = references.load(method)
    stated = beside(method) if method.endswith(".toml") else json.dumps(method)
    cheap = reference.import_path.startswith(CHEAP)
    name = re.sub(r"[^A-Za-z0-9_]+", "-", next(iter(starts)).stem).strip("-") or "campaign"
    physics = [f"charge = {charge}            # total charge in e"] if charge is not None else []
    physics += [f"multiplicity = {multiplicity}      # 2S + 1"] if multiplicity is not None else []
    structures = []
    for file, frames in starts.items():
        words = f"{frames[-1].get_chemical_formula()}" + (f", the last of {len(frames)}" if len(frames) > 1 else "")
        structures += ["[[structures]]", f"file = {beside(str(file))}   # {words}", ""]
    validation = [
        "[validation]          # labelled once, never trained on: it judges every committee and calibrates σ",
        'kind = "reference-md"',
        "frames = 40",
        "temperatures_K = [300, 600]",
    ]
    if not cheap:
        validation = [
            "# Audit frames of each round judge and calibrate. A fixed set judges more sharply, for as many labels:",
            *(f"# {line}" for line in validation),
        ]
    lines = [
        "# A campaign for Tentpole. All keys: `tentpole keys`; what is left out has the default written there.",
        "# Next: tentpole check, which says what this will cost, then tentpole run.",
        "",
        f'name = "{name}"       # its folder is runs/{name}',
        "seed = 1",
        f"reference = {stated}   # {reference.description or 'what labels'}; others: tentpole references",
        *physics,
        "",
        *structures,
        "[stop]                # hard limits; the first one reached ends the campaign",
        f"rounds = {ROUNDS}",
        f"labels = {size.initial + ROUNDS * BATCH}",
        "",
        "[target]              # when it is enough",
        "force_error_eV_per_A = 0.05",
        "",
        "# First labels, before there is a committee: rattled starting structures. Labels that you have already:",
        f'# kind = "labelled", file = "mine.extxyz", reference = {stated}',
        "[initial]",
        'kind = "rattle"',
        f"count = {size.initial}",
        "stdev_A = [0.02, 0.05, 0.1]",
        "",
        *validation,
        "",
        "[explore]             # MD between two labellings: a walker per structure, temperature and bias ratio",
        "temperatures_K = [300, 600]   # up to what the potential will be used at, and somewhat above",
        "steps = 500",
        "snapshot_every = 10",
        "",
        "[explore.ensemble]",
        f"timestep_fs = {size.timestep_fs}" + ("     # there is hydrogen" if size.timestep_fs < 1 else ""),
        "",
    ]
    if size.max_gap_A is not None:
        lines += [
            "[explore.health]",
            f"max_gap_A = {size.max_gap_A}       # a walker that falls apart goes back to its last healthy state",
            "",
        ]
    lines += [
        "[explore.bias]        # 0: plain MD; 0.3: entropy bias with 0.3 of the physical forces' RMS",
        "ratios = [0.0, 0.3]",
        "",
        "[committee]",
        "members = 4",
        "",
        "[training]",
        'kind = "mace"',
        f"r_max = {size.r_max_A}           # Å",
        "updates = 400         # gradient steps per member and round",
        "",
        "[selection]",
        'rule = "two_key"      # high disagreement and a log-det gain',
        f"batch = {BATCH}            # labels a round, at most",
        "audit = 0.1           # this share is drawn at random, and judges the committee",
        "",
    ]
    return "\n".join(lines)
