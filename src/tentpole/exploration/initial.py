"""The first structures of a campaign: what is labelled before there is a committee, and what it is judged by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import ground_state_magnetic_moments

from tentpole.errors import InputError
from tentpole.exploration import HealthLimits, Langevin, advance, init_walker
from tentpole.exploration.health import geometry
from tentpole.exploration.random_numbers import generator
from tentpole.records import Condition, State, bare, moments_of, own_state, with_state

USUAL_STRAIN = 0.05
"""Without strained cells among its labels a committee learns no stress (5 % of both: `scripts/bench_training.py`)."""


ALONE_A = 15.0
"""Edge of the cell of an isolated atom, in Å, where the other structures are periodic."""


def isolated_atoms(starts: Iterable[Atoms], cutoff: float, state: State = (None, None)) -> list[Atoms]:
    """One atom of each element in `starts`, alone.

    Parameters
    ----------
    starts : iterable of ase.Atoms
        Where one of them is periodic, each atom stands in a periodic cell of 15 Å, or 3 Å more than the cutoff.
    cutoff : float
        Of the members, in Å.
    state : (int or None, int or None)
        Charge and multiplicity as the campaign states them. Where it states one, the atoms have their own: no charge,
        and the multiplicity of the ground state (ase.data.ground_state_magnetic_moments).

    Returns
    -------
    list of ase.Atoms
        In order of atomic number.
    """
    edge, structures = max(ALONE_A, cutoff + 3.0), list(starts)
    periodic = any(atoms.pbc.any() for atoms in structures)
    alone = []
    for z in sorted({int(z) for atoms in structures for z in atoms.numbers}):
        atoms = Atoms(numbers=[z], positions=[[0.5 * edge] * 3], cell=[edge] * 3 if periodic else None, pbc=periodic)
        own = (0, round(ground_state_magnetic_moments[z]) + 1)
        said = [None if stated is None else value for stated, value in zip(state, own, strict=True)]
        alone.append(with_state(atoms, (said[0], said[1])))
    return alone


def rattled(
    starts: Mapping[str, Atoms],
    count: int,
    stdev_A: Sequence[float],
    rng: np.random.Generator,
    strain: float | None = 0.0,
    strains: np.random.Generator | None = None,
) -> list[tuple[str, Atoms]]:
    """Rattled and strained copies of starting structures.

    Parameters
    ----------
    starts : mapping of str to ase.Atoms
        The structures by name, which take turns.
    count : int
        How many copies.
    stdev_A : sequence of float
        Standard deviations of the displacements in Å, which take turns too.
    rng : numpy.random.Generator
        Of the displacements.
    strain : float, optional
        Largest component of the strain, see `strained`. None: 0.05 for structures that are periodic in all directions,
        else 0.
    strains : numpy.random.Generator, optional
        Of the strains; needed where there are any.

    Returns
    -------
    list of (str, ase.Atoms)
        Each copy with its structure's name.

    Raises
    ------
    InputError
        Where the atoms of a copy came too close 100 times in a row.
    """
    names, limits = list(starts), HealthLimits()
    frames = []
    for i in range(count):
        name, stdev = names[i % len(names)], stdev_A[(i // len(names)) % len(stdev_A)]
        for _ in range(100):
            atoms = bare(starts[name])
            size = strain if strain is not None else USUAL_STRAIN if atoms.pbc.all() else 0.0
            if size and strains is not None:
                atoms = strained(atoms, size, strains)
            atoms.positions += rng.normal(scale=stdev, size=atoms.positions.shape)
            if geometry(atoms, limits) is None:
                break
        else:
            raise InputError(
                f'initial.stdev_A: rattling "{name}" by {stdev:g} Å always brings atoms too close: '
                "use a smaller amplitude, or mend the structure"
            )
        frames.append((name, atoms))
    return frames


def strained(atoms: Atoms, size: float, rng: np.random.Generator) -> Atoms:
    """A copy under a random symmetric strain, its atoms moved along with the cell.

    x → x (1 + P ε P) with ε_ij = ε_ji drawn evenly from [−size, size] and P the projection on the directions in which
    it is periodic. Without any, the copy is as it was.

    Examples
    --------
    >>> import numpy as np
    >>> from ase.build import bulk
    >>> from tentpole.exploration.initial import strained
    >>> bool(strained(bulk("Cu"), 0.05, np.random.default_rng(0)).get_volume() == bulk("Cu").get_volume())
    False
    """
    drawn = rng.uniform(-size, size, (3, 3))
    epsilon = np.tril(drawn) + np.tril(drawn, -1).T
    basis, _ = np.linalg.qr(atoms.cell.array[atoms.pbc].T)
    projection = basis @ basis.T
    atoms = atoms.copy()
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + projection @ epsilon @ projection), scale_atoms=True)
    return atoms


@dataclass(frozen=True, slots=True)
class ReferenceMD:
    """MD driven by the reference, `frames` of it `every` steps apart, for one structure and temperature.

    `seed`, `purpose`, `index` and `random_numbers` (the scheme) say what its random numbers come from.
    """

    reference: str
    charge: int | None
    multiplicity: int | None
    structure: str
    start: Atoms
    temperature_K: float
    frames: int
    every: int
    timestep_fs: float
    seed: int
    index: int
    random_numbers: int
    scratch: Path
    purpose: str = "validation"


def reference_md(job: ReferenceMD) -> list[Atoms]:
    """The frames of one reference trajectory. The first tenth of the steps, at least `every`, equilibrates."""
    from tentpole.labeling import references

    reference = references.load(job.reference, job.start.get_chemical_symbols())
    setup = reference.setup(job.start, job.charge, job.multiplicity, job.scratch)
    calc = reference.make(setup.keywords, job.scratch)
    condition = Condition(job.structure, job.temperature_K)
    rng = generator(job.seed, job.purpose, job.index, scheme=job.random_numbers)
    walker = init_walker("reference", condition, setup.atoms, rng)
    ensemble = Langevin(timestep_fs=job.timestep_fs)
    walker = advance(walker, calc, max(job.every, job.frames * job.every // 10), ensemble)
    frames = []
    for _ in range(job.frames):
        walker = advance(walker, calc, job.every, ensemble)
        frames.append(bare(walker.atoms))
        with_state(frames[-1], own_state(job.start))
        frames[-1].set_initial_magnetic_moments(moments_of(job.start))  # those on the walker are in the program's words
    return frames
