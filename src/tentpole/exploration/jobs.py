"""Exploration as a job: one walker, one round, in a process of its own, resumable at any step."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ase import Atoms

from tentpole.execution.metering import Meter, metered
from tentpole.exploration import Exploration, ExploreSettings, Mishap, back, begin, explore
from tentpole.exploration.files import read_exploration, write_exploration
from tentpole.exploration.random_numbers import WalkerSeed
from tentpole.records import Condition, Scores

if TYPE_CHECKING:
    from tentpole.committee import Committee
    from tentpole.entropy import Covariance, FingerprintSettings

from tentpole.committee.cached import committee_in, foundation_in

ALIGN_ON = 50
"""Labels on which the energies of foundation models that vote are brought to the committee's scale."""


REASON = "failed labels"
"""Reason code of the mishap that a walker's shard then begins with."""


@dataclass(frozen=True, slots=True)
class WalkerReset:
    """One walker sent back.

    `after`: the round whose failures decided it; `round`: the walker's first round from the
    earlier state; `before`: that state is from before this step, where the first of the failed frames was.
    """

    walker: str
    after: int
    round: int
    before: int
    message: str


@dataclass(frozen=True, slots=True)
class WalkerJob:
    """All that one walker's round depends on.

    Parameters
    ----------
    root : Path
        The folder that the job's core-seconds are counted in.
    shard : Path
        Where the round's snapshots go.
    earlier : tuple of Path
        The walker's shards of the rounds before, the newest first.
    checkpoint : Path
        Where the state within the round is kept.
    progress : Path
        A small text file, steps done so far, for the screen only.
    round, id : int, str
        The round, and the walker's name.
    seed : WalkerSeed
        What its random numbers come from.
    condition : Condition
        Structure, temperature in K and pressure in GPa.
    start : ase.Atoms
        The structure it starts from.
    models : Path
        The committee's folder.
    driver : int or str
        A member of the committee, "mean", or a foundation model.
    voters : tuple of str
        Foundation models that vote beside the members.
    dtype : {"float32", "float64"}
        The committee's.
    ratio : float
        RMS bias force over RMS physical force; 0 for plain MD.
    entropy : {"logdet", "nearest"}
        What the bias raises.
    fingerprint : FingerprintSettings
    species : tuple of int
        Atomic numbers that the campaign's structures hold.
    covariance : Covariance
        Of the dataset's fingerprints, for the gain.
    settings : ExploreSettings
    checkpoint_seconds : float
        Between two checkpoints, s.
    sent_back : WalkerReset, optional
        That the walker begins this round from an earlier state.
    """

    root: Path
    shard: Path
    earlier: tuple[Path, ...]
    checkpoint: Path
    progress: Path
    round: int
    id: str
    seed: WalkerSeed
    condition: Condition
    start: Atoms
    models: Path
    driver: int | str
    voters: tuple[str, ...]
    dtype: str
    ratio: float
    entropy: Literal["logdet", "nearest"]
    fingerprint: FingerprintSettings
    species: tuple[int, ...]
    covariance: Covariance
    settings: ExploreSettings
    checkpoint_seconds: float
    sent_back: WalkerReset | None = None

    def steps_done(self) -> int:
        """For progress on screen."""
        try:
            return self.settings.steps if self.shard.exists() else int(self.progress.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return 0


def run_walker(job: WalkerJob) -> Path:
    """Run one walker to the end of its round and write its shard; what is done already is not done again."""
    if job.shard.exists():
        read_exploration(job.shard)  # refuses a damaged one by name
        return job.shard
    with metered(job.root, "md") as meter:
        return _run(job, meter)


def _run(job: WalkerJob, meter: Meter) -> Path:
    from tentpole.committee import CommitteeCalculator
    from tentpole.entropy import EntropyBias, SpeciesBlocks, make_fingerprint
    from tentpole.exploration.scoring import FrameScorer

    outside = isinstance(job.driver, str) and job.driver != "mean"
    driven_by = foundation_in(str(job.driver), job.dtype) if outside else job.driver
    committee = _committee(job.models, job.voters, job.dtype)
    physical = CommitteeCalculator(committee, driven_by, stress=job.settings.ensemble.barostatted)
    fingerprint = make_fingerprint(job.fingerprint, job.species, committee)
    driver: Any = physical
    if job.ratio > 0:
        base = fingerprint.base if isinstance(fingerprint, SpeciesBlocks) else fingerprint
        driver = EntropyBias(
            physical,
            ratio=job.ratio,
            entropy=job.entropy,
            fingerprint=base,
            per_species=job.fingerprint.per_species,
        )
    state = _state(job)

    def energy_and_forces(atoms: Atoms) -> tuple[float, Any]:
        return physical.get_property("energy", atoms), physical.get_property("forces", atoms)

    result = explore(
        state,
        driver,
        energy_and_forces,
        FrameScorer(physical, fingerprint, job.covariance),
        job.start,
        job.settings,
        job.seed,
        _checkpoints(job, meter),
    )
    write_exploration(job.shard, result)
    job.checkpoint.unlink(missing_ok=True)
    job.progress.unlink(missing_ok=True)
    return job.shard


@dataclass(frozen=True, slots=True)
class ScoreJob:
    """Frames to score again, with the committee of `models` and `voters` and the dataset of `covariance`."""

    models: Path
    voters: tuple[str, ...]
    dtype: str
    fingerprint: FingerprintSettings
    species: tuple[int, ...]
    covariance: Covariance
    frames: tuple[Atoms, ...]


def score_frames(job: ScoreJob) -> list[Scores]:
    """Scores of frames one by one, as a walker would score them: the same whatever else is in the job."""
    from tentpole.committee import CommitteeCalculator
    from tentpole.entropy import make_fingerprint
    from tentpole.exploration.scoring import FrameScorer

    committee = _committee(job.models, job.voters, job.dtype)
    fingerprint = make_fingerprint(job.fingerprint, job.species, committee)
    scorer = FrameScorer(CommitteeCalculator(committee, 0), fingerprint, job.covariance)
    return [scorer(atoms) for atoms in job.frames]


def _committee(models: Path, voters: tuple[str, ...], dtype: str) -> Committee:
    """The committee of a round, with the foundation models that vote."""
    from tentpole.committee import Committee, aligned
    from tentpole.storage.structures import labelled_frames

    committee = committee_in(models, dtype)
    if not voters:
        return committee
    known = labelled_frames(models / "train.extxyz")[:ALIGN_ON]
    energies = [atoms.info["REF_energy"] for atoms in known]
    return Committee([*committee.voters, *(aligned(foundation_in(name, dtype), known, energies) for name in voters)])


def _state(job: WalkerJob) -> Exploration:
    """Where to go on: this round's checkpoint, else the last round's end, else the beginning."""
    if job.checkpoint.exists():
        state = read_exploration(job.checkpoint)
        if state.round == job.round:
            return state
    if not job.earlier or not job.earlier[0].exists():
        return begin(job.round, job.id, job.condition, job.start, job.seed)
    state = Exploration(job.round, read_exploration(job.earlier[0]).walker)
    if job.sent_back is None:
        return state
    walker = replace(state.walker, ring=_healthy_before(job, job.sent_back.before))
    mishap = Mishap(walker.step, REASON, job.sent_back.message)
    return back(replace(state, walker=walker), mishap, job.start, job.seed)


def _healthy_before(job: WalkerJob, step: int) -> tuple[tuple[int, Atoms, dict[str, Any]], ...]:
    """The newest ring buffer of the walker, less what is not from before `step`; () where nothing is left."""
    for path in job.earlier:
        ring = read_exploration(path).walker.ring if path.exists() else ()
        healthy = tuple(entry for entry in ring if entry[0] < step)
        if healthy:
            return healthy
    return ()


def _checkpoints(job: WalkerJob, meter: Meter) -> Callable[[Exploration], None]:
    job.progress.parent.mkdir(exist_ok=True)
    last = time.monotonic()

    def save(state: Exploration) -> None:
        nonlocal last
        job.progress.write_text(str(state.done), encoding="utf-8")
        meter.divide(md=state.md_seconds, scoring=state.scoring_seconds)
        if time.monotonic() - last >= job.checkpoint_seconds and state.done < job.settings.steps:
            write_exploration(job.checkpoint, state)
            last = time.monotonic()

    return save
