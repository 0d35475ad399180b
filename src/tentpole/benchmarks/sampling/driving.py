"""MD that makes a study's frames: one trajectory is one job, whole or not there."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ase import Atoms

from tentpole.exploration import ExploreSettings, WalkerSeed, begin, explore
from tentpole.exploration.files import read_exploration, write_exploration
from tentpole.records import Condition, FloatArray, Scores, Snapshot, State

if TYPE_CHECKING:
    from tentpole.entropy import FingerprintSettings
    from tentpole.labeling import Reference

UNSCORED = Scores(0.0, 0.0, 0.0, 0.0, 0.0)
"""Frames are scored when a policy looks at them, not while they are made."""


@dataclass(frozen=True, slots=True)
class Bias:
    """An entropy bias: RMS bias force over RMS physical force, what it raises, its ε and its fingerprint.

    known : the frames of the dataset that "dataset" adds to.
    """

    ratio: float
    entropy: Literal["logdet", "nearest", "dataset"]
    eps: float
    fingerprint: FingerprintSettings
    known: tuple[Atoms, ...] = ()


@dataclass(frozen=True, slots=True)
class Trajectory:
    """MD under one condition.

    Parameters
    ----------
    file : Path
        Where its frames go.
    id : str
        Of its walker.
    seed : WalkerSeed
        What its random numbers come from.
    condition : Condition
        Structure, temperature in K and pressure in GPa.
    start : ase.Atoms
        Where it starts.
    driver : Reference or Path
        What moves it: a reference, or a folder of models, the first of which does.
    state : (int or None, int or None)
        Charge and multiplicity.
    settings : ExploreSettings
        Steps, snapshots, ensemble, health, ramp.
    bias : Bias, optional
        None: plain MD.
    """

    file: Path
    id: str
    seed: WalkerSeed
    condition: Condition
    start: Atoms
    driver: Reference | Path
    state: State
    settings: ExploreSettings
    bias: Bias | None = None


def walk(job: Trajectory) -> None:
    """Run the trajectory and write its frames, unless they are there."""
    if job.file.is_file():
        read_exploration(job.file)  # refuses a damaged one by name
        return
    with tempfile.TemporaryDirectory(prefix="tentpole-") as scratch:
        physical = _physical(job, Path(scratch))

        def energy_and_forces(atoms: Atoms) -> tuple[float, FloatArray]:
            return physical.get_property("energy", atoms), physical.get_property("forces", atoms)

        state = begin(job.seed.round_number, job.id, job.condition, job.start, job.seed, job.settings.ramp)
        driver = physical if job.bias is None else _biased(physical, job.bias)
        result = explore(state, driver, energy_and_forces, lambda _: UNSCORED, job.start, job.settings, job.seed)
    write_exploration(job.file, result)


def _physical(job: Trajectory, scratch: Path) -> Any:
    """The calculator that drives, without a bias."""
    if isinstance(job.driver, Path):
        from tentpole.committee import CommitteeCalculator
        from tentpole.training.network_voter import members_in

        committee = members_in(job.driver, "float64", "own")
        return CommitteeCalculator(committee, 0, stress=job.settings.ensemble.barostatted)
    setup = job.driver.setup(job.start, *job.state, scratch)
    with contextlib.redirect_stdout(io.StringIO()):  # some announce their device
        return job.driver.make(setup.keywords, scratch)


def _biased(physical: Any, bias: Bias) -> Any:
    from tentpole.entropy import EntropyBias, make_covariance, make_fingerprint

    if bias.entropy == "dataset":
        species = sorted({int(z) for atoms in bias.known for z in atoms.numbers})
        fingerprint = make_fingerprint(bias.fingerprint, species)
        rows = [fingerprint.fingerprints(atoms) for atoms in bias.known]
        covariance = make_covariance(replace(bias.fingerprint, eps=bias.eps), rows)
        return EntropyBias(
            physical, ratio=bias.ratio, entropy="dataset", fingerprint=fingerprint, covariance=covariance
        )
    return EntropyBias(
        physical,
        ratio=bias.ratio,
        entropy=bias.entropy,
        eps=bias.eps,
        fingerprint=make_fingerprint(replace(bias.fingerprint, per_species=False)),
        per_species=bias.fingerprint.per_species,
    )


def candidates_in(files: Iterable[Path], equilibration: int = 0) -> list[Snapshot]:
    """The frames of trajectories in the order of time, those of one step in the order of walkers."""
    found = [shot for file in files for shot in read_exploration(file).snapshots if shot.step > equilibration]
    return sorted(found, key=lambda shot: (shot.step, shot.walker))


def md_seconds(files: Sequence[Path]) -> float:
    """What trajectories took, s."""
    return sum(read_exploration(file).md_seconds for file in files)
