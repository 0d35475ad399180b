"""Exploration as a job: the round of one walker, or of several side by side, in a process; resumable at any step."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ase import Atoms

from tentpole.errors import InputError, import_object
from tentpole.execution.metering import Meter, metered
from tentpole.exploration import Exploration, ExploreSettings, Mishap, back, begin, explore
from tentpole.exploration.files import read_exploration, write_exploration
from tentpole.exploration.lockstep import Lockstep
from tentpole.exploration.random_numbers import WalkerSeed
from tentpole.records import Condition, Scores

if TYPE_CHECKING:
    from tentpole.committee import Committee
    from tentpole.entropy import Covariance, Fingerprint, FingerprintSettings

from tentpole.committee.cached import committee_in, foundation_in

ALIGN_ON = 50
"""Labels on which the energies of foundation models that vote are brought to the committee's scale."""


AT_ONCE = 64
"""Frames whose scores are asked for together."""

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
class Stacked:
    """A calculator of the user's own around the driver: `calculator`, "module:factory", called with `parameters`."""

    calculator: str
    parameters: Mapping[str, Any]

    def around(self, driver: Any, atoms: Atoms, *, stress: bool = False) -> Any:
        """What `factory(driver, atoms, **parameters)` makes: an ASE calculator with all that moves a walker.

        Parameters
        ----------
        driver : ase.calculators.calculator.Calculator
            The committee's.
        atoms : ase.Atoms
            A copy of the starting structure.
        stress : bool
            Whether a barostat asks for the stress.

        Raises
        ------
        InputError
            Where it cannot be made, or does not give what is asked of it.
        """
        made = import_object(self.calculator, where="explore.stacked")(driver, atoms.copy(), **self.parameters)
        known = set(getattr(made, "implemented_properties", ()))
        wanted = {"energy", "forces", "stress"} if stress else {"energy", "forces"}
        if lacking := sorted(wanted - known):
            raise InputError(
                f'explore.stacked: "{self.calculator}" gave {type(made).__name__}, which has no '
                f"{' and no '.join(lacking)}: an ASE calculator is wanted"
            )
        return made


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
    evaluation : {"own", "mace"}
        By whose network members are evaluated.
    ratio : float
        RMS bias force over RMS physical force; 0 for plain MD.
    entropy : {"logdet", "nearest", "dataset"}
        What the bias raises.
    fingerprint : FingerprintSettings
    species : tuple of int
        Atomic numbers that the campaign's structures hold.
    covariance : Covariance
        Of the dataset's fingerprints, for the gain and for the bias "dataset".
    settings : ExploreSettings
    checkpoint_seconds : float
        Between two checkpoints, s.
    sent_back : WalkerReset, optional
        That the walker begins this round from an earlier state.
    stacked : Stacked, optional
        A calculator around the driver.
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
    evaluation: str
    ratio: float
    entropy: Literal["logdet", "nearest", "dataset"]
    fingerprint: FingerprintSettings
    species: tuple[int, ...]
    covariance: Covariance
    settings: ExploreSettings
    checkpoint_seconds: float
    sent_back: WalkerReset | None = None
    stacked: Stacked | None = None

    def steps_done(self) -> int:
        """For progress on screen."""
        try:
            return self.settings.steps if self.shard.exists() else int(self.progress.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return 0


def run_walkers(jobs: Sequence[WalkerJob]) -> list[Path]:
    """Run walkers side by side to the end of their round and write their shards; what is done is not done again.

    A walker's result does not depend on the others, to the last bit on a CPU.
    """
    todo = [job for job in jobs if not job.shard.exists()]
    for job in jobs:
        if job not in todo:
            read_exploration(job.shard)  # refuses a damaged one by name
    if todo:
        with metered(todo[0].root, "md") as meter:
            lockstep, spent = Lockstep(), _Spent(meter)
            lockstep.run([partial(_run, job, lockstep, spent) for job in todo])
    return [job.shard for job in jobs]


def _biased(driver: Any, job: WalkerJob, fingerprint: Fingerprint) -> Any:
    """The driver under the job's bias; over a dataset its rows are those of the gain, in blocks of species or not."""
    from tentpole.entropy import EntropyBias, SpeciesBlocks

    if job.entropy == "dataset":
        return EntropyBias(
            driver, ratio=job.ratio, entropy="dataset", fingerprint=fingerprint, covariance=job.covariance
        )
    base = fingerprint.base if isinstance(fingerprint, SpeciesBlocks) else fingerprint
    return EntropyBias(
        driver, ratio=job.ratio, entropy=job.entropy, fingerprint=base, per_species=job.fingerprint.per_species
    )


def _run(job: WalkerJob, lockstep: Lockstep, spent: _Spent) -> None:
    from tentpole.committee import Committee, CommitteeCalculator
    from tentpole.entropy import make_fingerprint
    from tentpole.exploration.scoring import FrameScorer

    outside = isinstance(job.driver, str) and job.driver != "mean"
    driven_by = lockstep.shared(foundation_in(str(job.driver), job.dtype)) if outside else job.driver
    members = _committee(job.models, job.voters, job.dtype, job.evaluation)
    committee = Committee([lockstep.shared(voter) for voter in members.voters])
    physical = CommitteeCalculator(committee, driven_by, stress=job.settings.ensemble.barostatted)
    fingerprint = make_fingerprint(job.fingerprint, job.species, committee_in(job.models, job.dtype))
    stacked = (
        None
        if job.stacked is None
        else job.stacked.around(physical, job.start, stress=job.settings.ensemble.barostatted)
    )
    driver: Any = physical if stacked is None else stacked
    if job.ratio > 0:
        driver = _biased(driver, job, fingerprint)
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
        _checkpoints(job, spent),
        lockstep.seconds,
        stacked,
    )
    write_exploration(job.shard, result)
    job.checkpoint.unlink(missing_ok=True)
    job.progress.unlink(missing_ok=True)


class _Spent:
    """What walkers side by side have spent on MD and on scores, told to the meter of their process."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._of: dict[str, tuple[float, float]] = {}

    def note(self, state: Exploration) -> None:
        """How far one of them is."""
        self._of[state.walker.id] = state.md_seconds, state.scoring_seconds
        md, scoring = (sum(column) for column in zip(*self._of.values(), strict=True))
        self._meter.divide(md=md, scoring=scoring)


@dataclass(frozen=True, slots=True)
class ScoreJob:
    """Frames to score again, with the committee of `models` and `voters` and the dataset of `covariance`."""

    models: Path
    voters: tuple[str, ...]
    dtype: str
    evaluation: str
    fingerprint: FingerprintSettings
    species: tuple[int, ...]
    covariance: Covariance
    frames: tuple[Atoms, ...]


def score_frames(job: ScoreJob) -> list[Scores]:
    """Scores of frames as walkers would score them: the same whatever else is in the job."""
    from tentpole.committee import Committee, CommitteeCalculator
    from tentpole.entropy import make_fingerprint
    from tentpole.exploration.scoring import FrameScorer

    members = _committee(job.models, job.voters, job.dtype, job.evaluation)
    fingerprint = make_fingerprint(job.fingerprint, job.species, committee_in(job.models, job.dtype))
    lockstep = Lockstep()
    committee = Committee([lockstep.shared(voter) for voter in members.voters])

    def scored(atoms: Atoms) -> Scores:
        return FrameScorer(CommitteeCalculator(committee, 0), fingerprint, job.covariance)(atoms)

    scores: list[Scores] = []
    for begin_at in range(0, len(job.frames), AT_ONCE):
        scores += lockstep.run([partial(scored, atoms) for atoms in job.frames[begin_at : begin_at + AT_ONCE]])
    return scores


def _committee(models: Path, voters: tuple[str, ...], dtype: str, evaluation: str) -> Committee:
    """The committee of a round, with the foundation models that vote."""
    from tentpole.committee import Committee, aligned
    from tentpole.storage.structures import labelled_frames
    from tentpole.training.network_voter import members_in  # torch: in workers alone

    committee = members_in(models, dtype, evaluation)
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
    ramp = job.settings.ramp
    if not job.earlier or not job.earlier[0].exists():
        return begin(job.round, job.id, job.condition, job.start, job.seed, ramp)
    state = Exploration(job.round, read_exploration(job.earlier[0]).walker)
    if job.sent_back is None:
        return state
    walker = replace(state.walker, ring=_healthy_before(job, job.sent_back.before))
    mishap = Mishap(walker.step, REASON, job.sent_back.message)
    return back(replace(state, walker=walker), mishap, job.start, job.seed, ramp)


def _healthy_before(job: WalkerJob, step: int) -> tuple[tuple[int, Atoms, dict[str, Any]], ...]:
    """The newest ring buffer of the walker, less what is not from before `step`; () where nothing is left."""
    for path in job.earlier:
        ring = read_exploration(path).walker.ring if path.exists() else ()
        healthy = tuple(entry for entry in ring if entry[0] < step)
        if healthy:
            return healthy
    return ()


def _checkpoints(job: WalkerJob, spent: _Spent) -> Callable[[Exploration], None]:
    job.progress.parent.mkdir(exist_ok=True)
    last = time.monotonic()

    def save(state: Exploration) -> None:
        nonlocal last
        job.progress.write_text(str(state.done), encoding="utf-8")
        spent.note(state)
        if time.monotonic() - last >= job.checkpoint_seconds and state.done < job.settings.steps:
            write_exploration(job.checkpoint, state)
            last = time.monotonic()

    return save
