"""Test sets of a study: their MD, their frames, their labels, and errors of models on them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from tentpole.benchmarks.sampling.config import (
    PRETRAINING,
    VALIDATION,
    VERSION,
    AnySet,
    FileSet,
    MDSet,
    StrainedSet,
    Study,
    unmade,
)
from tentpole.benchmarks.sampling.driving import Trajectory
from tentpole.benchmarks.sampling.paths import StudyPaths, read_versioned
from tentpole.config.walkers import PlannedWalker
from tentpole.errors import TentpoleError
from tentpole.exploration import ExploreSettings, Ramp, RampPoint, WalkerSeed
from tentpole.exploration.files import read_exploration
from tentpole.exploration.initial import strained
from tentpole.exploration.variants import made
from tentpole.records import FloatArray
from tentpole.storage.atomic import write_json
from tentpole.storage.labels import find_label, read_label
from tentpole.storage.structures import atoms_from_json, atoms_to_json, labelled_atoms
from tentpole.units import GPA

if TYPE_CHECKING:
    from tentpole.committee import Prediction
    from tentpole.labeling import Reference, Task

LEFT_OUT = 10
"""A tenth of the frames of a test trajectory, at its beginning, is none of the set."""
WHOLE = "all"


def sets_of(study: Study) -> dict[str, AnySet]:
    """The test sets by name, the validation set, and what members are pretrained on."""
    cheap = study.config.pretraining
    first = {} if cheap is None else {PRETRAINING: MDSet(frames=cheap.frames, every=cheap.every)}
    return {**study.config.tests, VALIDATION: MDSet(frames=study.config.valid), **first}


def method_of(study: Study, name: str) -> Reference:
    """What drives and labels a set: the teacher, or what members are pretrained on."""
    return study.cheap if name == PRETRAINING and study.cheap is not None else study.teacher


def seed_of(name: str) -> int:
    """A number for the random numbers of a set: its own, whatever other sets there are."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")


def explore_settings(study: Study, walker: PlannedWalker, steps: int, every: int, heat: float = 1.0) -> ExploreSettings:
    """How a trajectory under a condition goes, its temperatures times `heat`."""
    explore = study.config.explore
    ramp = None
    if walker.section is not None:
        points = [point.build(npt=explore.ensemble.kind == "npt") for point in walker.section.points]
        hot = tuple(_heated(point, heat) for point in points)
        start = study.starts[walker.condition.structure]
        cell = tuple(start.cell.array.ravel().tolist()) if walker.section.strains else None
        ramp = Ramp(hot, steps, cell)
    return ExploreSettings(
        steps=steps,
        snapshot_every=every,
        ensemble=explore.ensemble.build(),
        health=explore.health.build(),
        keep_last_sound=False,
        ramp=ramp,
    )


def _heated(point: RampPoint, heat: float) -> RampPoint:
    return replace(point, temperature_K=heat * point.temperature_K)


def set_trajectories(study: Study, paths: StudyPaths, name: str) -> list[Trajectory]:
    """The MD that a set is taken from: by its own method, unbiased, under every condition; none for a file's."""
    one = sets_of(study)[name]
    if isinstance(one, FileSet):
        return []
    heat = one.heat if isinstance(one, MDSet) else 1.0
    jobs = []
    for walker, share in _shares(study, one):
        condition = replace(walker.condition, temperature_K=heat * walker.condition.temperature_K)
        steps = one.every * (share + _skipped(share))
        jobs.append(
            Trajectory(
                file=paths.test_trajectory(name, walker.id),
                id=walker.id,
                seed=WalkerSeed(0, seed_of(name), walker.place),
                condition=condition,
                start=_start(study, one, walker),
                driver=method_of(study, name),
                state=study.state(walker.condition.structure),
                settings=explore_settings(study, walker, steps, one.every, heat),
            )
        )
    return jobs


def _shares(study: Study, one: MDSet | StrainedSet) -> list[tuple[PlannedWalker, int]]:
    """The walkers of a set with their number of frames."""
    walkers = [walker for walker in study.walkers if _suits(study, one, walker)]
    shares = [one.frames // len(walkers) + (i < one.frames % len(walkers)) for i in range(len(walkers))]
    return [(walker, share) for walker, share in zip(walkers, shares, strict=True) if share]


def _suits(study: Study, one: MDSet | StrainedSet, walker: PlannedWalker) -> bool:
    atoms = study.starts[walker.condition.structure]
    return not unmade(one, atoms) if isinstance(one, MDSet) else bool(atoms.pbc.any())


def _start(study: Study, one: MDSet | StrainedSet, walker: PlannedWalker) -> Atoms:
    atoms = study.starts[walker.condition.structure]
    if not isinstance(one, MDSet) or not one.make:
        return atoms
    return made(atoms, one.make, np.random.default_rng(0))


def _skipped(share: int) -> int:
    return -(-share // LEFT_OUT)


def write_frames_of(study: Study, paths: StudyPaths, name: str) -> None:
    """Write the frames of a set, whose MD is done, unless they are there."""
    file, one = paths.frames(name), sets_of(study)[name]
    if file.is_file():
        return
    found: list[tuple[str, Atoms]] = [("", atoms) for atoms in study.frames.get(name, ())]
    rng = np.random.default_rng(seed_of(name))
    shares = [] if isinstance(one, FileSet) else _shares(study, one)
    for job, (_, share) in zip(set_trajectories(study, paths, name), shares, strict=True):
        for shot in read_exploration(job.file).snapshots:
            if shot.step > job.settings.snapshot_every * _skipped(share):
                atoms = strained(shot.atoms, one.strain, rng) if isinstance(one, StrainedSet) else shot.atoms
                found.append((shot.condition.structure, atoms))
    frames = [{"structure": structure, **atoms_to_json(atoms)} for structure, atoms in found]
    write_json(file, {"version": VERSION, "frames": frames})


def set_tasks(study: Study, paths: StudyPaths, name: str) -> list[Task]:
    """The labels of a set, to be computed or there."""
    from tentpole.labeling import Task

    return [
        Task(paths.root, method_of(study, name), atoms, *_state(study, structure), root_exists=True)
        for structure, atoms in _frames(paths, name)
    ]


def _state(study: Study, structure: str) -> tuple[int | None, int | None]:
    return study.state(structure) if structure else (study.config.charge, study.config.multiplicity)


def _frames(paths: StudyPaths, name: str) -> list[tuple[str, Atoms]]:
    content = read_versioned(paths.frames(name), VERSION)
    return [(one["structure"], atoms_from_json(one)) for one in content["frames"]]


@dataclass(frozen=True, slots=True)
class KnownSet:
    """Frames of a set with their labels, and the structure that each came from, "" for a file's."""

    frames: list[Atoms]
    structures: list[str]


def labelled_set(study: Study, paths: StudyPaths, name: str) -> KnownSet:
    """What of a set got a label. Raises TentpoleError where none did."""
    frames, structures = [], []
    tasks = set_tasks(study, paths, name)
    for task, (structure, _) in zip(tasks, _frames(paths, name), strict=True):
        path = find_label(paths.root, task.structure, task.reference.hash)
        if path is not None:
            frames.append(labelled_atoms(read_label(path)))
            structures.append(structure)
    if not frames:
        raise TentpoleError(
            f'no frame of the set "{name}" got a label: see {paths.root / "quarantine"} for the reasons, and choose '
            "milder conditions or another teacher."
        )
    return KnownSet(frames, structures)


@dataclass(frozen=True, slots=True)
class SetErrors:
    """Errors of models on a set's frames, means over the models of each frame's.

    Parameters
    ----------
    atoms : (n,) array
        Numbers of atoms.
    structures : list of str
        Which starting structure each frame came from.
    energy, force, stress : (n,) arrays
        Mean absolute errors: per atom, over components of forces, over components of the stress; eV, eV/Å, eV/Å³.
        NaN for the stress where there is none.
    energy2, force2, stress2 : (n,) arrays
        Mean squares of the same.
    force_p95 : dict of str to float
        95th percentile of the length of an atom's force error, over the set and by structure, eV/Å.
    """

    atoms: FloatArray
    structures: list[str]
    energy: FloatArray
    energy2: FloatArray
    force: FloatArray
    force2: FloatArray
    stress: FloatArray
    stress2: FloatArray
    force_p95: Mapping[str, float]

    def to_json(self) -> dict[str, object]:
        """As plain data; None for what is not known."""
        columns = {name: _listed(getattr(self, name)) for name in COLUMNS}
        return {**columns, "structures": self.structures, "force_p95": dict(self.force_p95)}


COLUMNS = ("atoms", "energy", "energy2", "force", "force2", "stress", "stress2")


def set_errors_from(content: Mapping[str, object]) -> SetErrors:
    """The errors that `SetErrors.to_json` gave."""
    columns = {name: np.array(content[name], dtype=float) for name in COLUMNS}
    return SetErrors(structures=content["structures"], force_p95=content["force_p95"], **columns)  # type: ignore[arg-type]


def _listed(values: FloatArray) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]


def set_errors(prediction: Prediction, known: KnownSet) -> SetErrors:
    """Errors of a committee's members, one by one, on labelled frames. Raises TentpoleError where one is not finite."""
    for number, reason in enumerate(prediction.failed):
        if reason:
            raise TentpoleError(f"frame {number} of the set: {reason}")
    sizes = np.array([len(atoms) for atoms in known.frames], dtype=float)
    energies = np.array([atoms.info["REF_energy"] for atoms in known.frames])
    off = (prediction.energies - energies) / sizes
    forces = [f - atoms.arrays["REF_forces"] for f, atoms in zip(prediction.forces, known.frames, strict=True)]
    assert prediction.stresses is not None
    stresses = np.array([np.ravel(atoms.info.get("REF_stress", [np.nan] * 6)) for atoms in known.frames])
    strained_by = prediction.stresses - stresses
    lengths = [np.linalg.norm(error, axis=2).ravel() for error in forces]
    groups = {WHOLE: range(len(sizes)), **_by_structure(known.structures)}
    return SetErrors(
        atoms=sizes,
        structures=known.structures,
        energy=np.abs(off).mean(axis=0),
        energy2=(off**2).mean(axis=0),
        force=np.array([np.abs(error).mean() for error in forces]),
        force2=np.array([(error**2).mean() for error in forces]),
        stress=np.abs(strained_by).mean(axis=(0, 2)),
        stress2=(strained_by**2).mean(axis=(0, 2)),
        force_p95={
            name: float(np.percentile(np.concatenate([lengths[i] for i in places]), 95))
            for name, places in groups.items()
        },
    )


def _by_structure(structures: Sequence[str]) -> dict[str, list[int]]:
    """Places of a set's frames by structure, where they are of several."""
    names = list(dict.fromkeys(structures))
    if len(names) < 2:
        return {}
    return {name: [i for i, other in enumerate(structures) if other == name] for name in names}


def groups_of(errors: SetErrors) -> dict[str, list[int]]:
    """Places of the frames: all of them, and by structure where they are of several."""
    return {WHOLE: list(range(len(errors.atoms))), **_by_structure(errors.structures)}


MEASURES = {
    "energy_mae": "energy MAE, meV/atom",
    "energy_rmse": "energy RMSE, meV/atom",
    "force_mae": "force MAE, meV/Å",
    "force_rmse": "force RMSE, meV/Å",
    "force_p95": "95th percentile of force errors, meV/Å",
    "stress_mae": "stress MAE, GPa",
    "stress_rmse": "stress RMSE, GPa",
}
"""What is told of a set, with its unit."""


def scale_of(measure: str) -> float:
    """From eV, eV/Å and eV/Å³ to the unit in MEASURES."""
    return 1.0 / GPA if measure.startswith("stress") else 1e3


def measured(errors: SetErrors, measure: str, group: str = WHOLE) -> float:
    """A measure of a set, or of a structure's frames in it, in eV, eV/Å or eV/Å³; NaN where it has none."""
    if measure == "force_p95":
        return float(errors.force_p95.get(group, np.nan))
    return float(resampled(errors, measure, np.array(groups_of(errors)[group])))


def resampled(errors: SetErrors, measure: str, places: np.ndarray) -> FloatArray:
    """A mean or a root mean square over frames `places` (..., n), along the last axis."""
    what, _, kind = measure.partition("_")
    values = getattr(errors, what if kind == "mae" else f"{what}2")[places]
    weights = errors.atoms[places] if what == "force" else np.ones(np.shape(places))
    weights = np.where(np.isfinite(values), weights, 0.0)
    with np.errstate(invalid="ignore"):
        mean = np.where(weights > 0, values, 0.0)
        mean = (weights * mean).sum(axis=-1) / weights.sum(axis=-1)
    return np.asarray(mean if kind == "mae" else np.sqrt(mean))
