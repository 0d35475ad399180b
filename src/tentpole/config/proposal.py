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
from tentpole.labeling.references import Reference
from tentpole.records import CHARGE, MULTIPLICITY, own_state
from tentpole.storage.structures import read_structures

BATCH, ROUNDS = 30, 10
SOLVED_ATOMS = 24
"""In larger structures a solution takes minutes a member, and is left to whoever wants it."""
LEARNED = ("chgnet", "mace", "nequip", "fairchem", "mattersim")
"""Calculators whose labels ripple by more than is left to learn."""
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
    files: Sequence[Path],
    out: Path,
    reference: str | None,
    charge: int | Sequence[int] | None,
    multiplicity: int | Sequence[int] | None,
) -> str:
    """A campaign file for the structures in `files`, to be written to `out`; it passes `load`.

    charge, multiplicity : of all structures, or of each in the order of `files`; None: what the files say of
    themselves. Raises InputError for structures that cannot be read and for what the reference needs and nobody stated.
    """
    starts = {file: read_structures(file, ":", str(file)) for file in files}
    if not starts:
        raise InputError("name at least one file with a structure")
    structures = [frames[-1] for frames in starts.values()]
    method = reference or usual_reference(structures)
    charges, multiplicities = (
        _of_each(word, given, structures) for word, given in ((CHARGE, charge), (MULTIPLICITY, multiplicity))
    )
    text = _text(starts, out, method, charges, multiplicities, sizes(structures))
    resolve(tomllib.loads(text), out)
    return text


def _of_each(word: str, given: int | Sequence[int] | None, structures: Sequence[Atoms]) -> list[int | None]:
    """Charge or multiplicity of each structure: as it was given, for all or one by one, else what its file says."""
    own = [own_state(atoms)[(CHARGE, MULTIPLICITY).index(word)] for atoms in structures]
    if given is None or (isinstance(given, Sequence) and not given):
        return own
    told: list[int | None] = [given] if isinstance(given, int) else list(given)
    if len(told) not in (1, len(structures)):
        raise InputError(
            f"--{word} was given {len(told)} times for {len(structures)} structures: give it once, for all of them, or "
            "once per structure in their order"
        )
    return [*told] * len(structures) if len(told) == 1 else [*told]


def missing_physics(files: Sequence[Path], reference: str | None) -> list[str]:
    """What of charge and multiplicity must be stated for these structures: what is required, and no file says."""
    structures = [read_structures(file, ":", str(file))[-1] for file in files]
    method = references.load(reference or usual_reference(structures))
    needed = set()
    for atoms in structures:
        wanted = set(method.requires) | (set() if atoms.pbc.any() else set(method.requires_for_molecules))
        said = dict(zip((CHARGE, MULTIPLICITY), own_state(atoms), strict=True))
        needed |= {word for word in wanted if said[word] is None}
    return [word for word in (CHARGE, MULTIPLICITY) if word in needed]


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


def _start_from_what_is_known(structures: Sequence[Atoms], reference: str) -> list[str]:
    """A cheap method to learn before the first label, in comments; nothing where it is the reference itself."""
    known = "chgnet" if any(atoms.pbc.any() for atoms in structures) else "xtb"
    if known == reference:
        return []
    return [
        "# The largest saving of labels lies in the start: members learn a cheap method first, and from labels what",
        "# these say beyond it. As the baseline that method is paid for at every MD step too; either may stand alone.",
        "# [pretraining]",
        f'# reference = "{known}"     # pip install "tentpole[{known}]"',
        "# [baseline]",
        f'# reference = "{known}"',
        "",
    ]


def _rule(structures: Sequence[Atoms]) -> list[str]:
    """The rule that took fewer labels in whole campaigns of such structures (scripts/bench_policies.py)."""
    if any(atoms.pbc.any() for atoms in structures):
        return ['rule = "two_key"      # high disagreement and a log-det gain']
    return [
        'rule = "gradient"     # by what a trained member depends on: the frames that would',
        'settings.aim = "mean" # lower what it cannot know of all candidates the most',
    ]


def _solving(structures: Sequence[Atoms], reference: Reference) -> list[str]:
    """Whether what updates leave is solved for: where that takes seconds, and labels are no learned model's."""
    small = max(map(len, structures)) <= SOLVED_ATOMS
    key = 'solve = "after"       # what updates leave is solved for: half the error, of smooth labels. It takes'
    more = "                      # longer the larger the structure, and MD takes twice as long"
    if small and not reference.import_path.startswith(LEARNED):
        return [key, more]
    return [f"# {key.replace('  ', '', 1)}", f"#{more[1:]}"]


def _text(
    starts: dict[Path, list[Atoms]],
    out: Path,
    method: str,
    charges: Sequence[int | None],
    multiplicities: Sequence[int | None],
    size: Sizes,
) -> str:
    def beside(path: str) -> str:
        return json.dumps(os.path.relpath(Path(path).resolve(), out.resolve().parent), ensure_ascii=False)

    reference = references.load(method)
    stated = beside(method) if method.endswith(".toml") else json.dumps(method)
    cheap = reference.import_path.startswith(CHEAP)
    name = re.sub(r"[^A-Za-z0-9_]+", "-", next(iter(starts)).stem).strip("-") or "campaign"
    physics, structures = list[str](), list[str]()
    embed = list[str]()
    own: dict[str, Sequence[int | None]] = {}
    for word, values, words in ((CHARGE, charges, "total charge in e"), (MULTIPLICITY, multiplicities, "2S + 1")):
        if len(set(values)) > 1:
            own[word], embed = values, [*embed, word]
        elif values[0] is not None:
            physics.append(f"{f'{word} = {values[0]}':<23} # {words}")
    for place, (file, frames) in enumerate(starts.items()):
        words = f"{frames[-1].get_chemical_formula()}" + (f", the last of {len(frames)}" if len(frames) > 1 else "")
        states = [f"{word} = {values[place]}" for word, values in own.items() if values[place] is not None]
        structures += ["[[structures]]", f"file = {beside(str(file))}   # {words}", *states, ""]
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
        *([] if cheap else _start_from_what_is_known([frames[-1] for frames in starts.values()], reference.name)),
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
        'updates = "auto"      # gradient steps per member: 2000 and more at first, then 800 a round; fewer err more',
        *_solving([frames[-1] for frames in starts.values()], reference),
        *([f"embed = {json.dumps(embed)}    # members read what structures differ in"] if embed else []),
        "",
        "[selection]",
        *_rule([frames[-1] for frames in starts.values()]),
        f"batch = {BATCH}            # labels a round, at most",
        "audit = 0.1           # this share is drawn at random, and judges the committee",
        "",
    ]
    return "\n".join(lines)
