"""The first structures of a campaign: what is labelled before there is a committee, and what it is judged by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms

from tentpole.errors import InputError
from tentpole.exploration import HealthLimits, Langevin, advance, init_walker
from tentpole.exploration.health import geometry
from tentpole.exploration.random_numbers import generator
from tentpole.records import Condition, bare, moments_of


def rattled(
    starts: Mapping[str, Atoms], count: int, stdev_A: Sequence[float], rng: np.random.Generator
) -> list[tuple[str, Atoms]]:
    """`count` rattled copies, structures and amplitudes in turn, each with its structure's name.

    A copy whose atoms come too close is drawn again; 100 times in vain is an error.
    """
    names, limits = list(starts), HealthLimits()
    frames = []
    for i in range(count):
        name, stdev = names[i % len(names)], stdev_A[(i // len(names)) % len(stdev_A)]
        for _ in range(100):
            atoms = bare(starts[name])
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
        frames[-1].set_initial_magnetic_moments(moments_of(job.start))  # those on the walker are in the program's words
    return frames
