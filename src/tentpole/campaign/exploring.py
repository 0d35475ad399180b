"""Exploration of a round: its walkers and their conditions, set going, awaited; frames scored again."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ase import Atoms

from tentpole.campaign.context import Context
from tentpole.campaign.correlation import statistical_inefficiency
from tentpole.campaign.dataset import species_of
from tentpole.campaign.facts import BatchFacts
from tentpole.campaign.walkers import walkers_in
from tentpole.committee.committee import choose_device
from tentpole.config.walkers import PlannedWalker, judged_walkers, walkers_of
from tentpole.errors import MachineError
from tentpole.execution.metering import measured
from tentpole.exploration import Exploration, ExploreSettings, Ramp, WalkerSeed
from tentpole.exploration.files import read_exploration
from tentpole.exploration.jobs import ScoreJob, Stacked, WalkerJob, WalkerReset, run_walkers, score_frames
from tentpole.records import Candidate, Condition

if TYPE_CHECKING:
    from tentpole.config.schema import CampaignConfig
    from tentpole.entropy import Covariance


PIECES = 3
"""Times that walkers of a final look are sent on at most: what the first show says how far the next are to go."""

LARGE = 40
"""Atoms of a structure beyond which evaluating several at once gains nothing on a CPU (scripts/bench_walkers.py)."""


def walker_jobs(
    context: Context, number: int, models: Path, covariance: Covariance, resets: Sequence[WalkerReset] = ()
) -> list[WalkerJob]:
    """One job per walker: that round with that committee and dataset, from where the walker is or was reset to."""
    config, section, paths = context.config, context.config.explore, context.paths
    settings = ExploreSettings(
        section.steps,
        section.snapshot_every,
        section.max_force_std_eV_per_A,
        section.ensemble.build(),
        section.health.build(),
        section.keep_last_sound,
    )
    planned = walkers_in(context.state, config, number)
    ran = {k: walkers_in(context.state, context.at(k).config, k) for k in range(number - 1, 0, -1)}
    earlier = {walker.id: _earlier_rounds(context, number, walker, ran) for walker in planned}
    reset = {one.walker: one for one in resets if _first_since(one.round, earlier.get(one.walker, ()), number)}
    return [
        WalkerJob(
            root=context.root,
            shard=paths.shard(number, walker.id),
            earlier=tuple(
                path for before in earlier[walker.id] for path in reversed(_shards(context, before, walker.id))
            ),
            checkpoint=paths.checkpoint(walker.id),
            progress=paths.steps_done(walker.id),
            round=number,
            id=walker.id,
            seed=WalkerSeed(config.seed, number, walker.place, config.random_numbers),
            condition=walker.condition,
            start=context.starts[walker.condition.structure],
            models=models,
            driver=config.committee.driver,
            voters=config.committee.voters,
            dtype=config.committee.dtype,
            evaluation=config.committee.evaluation,
            ratio=walker.ratio,
            entropy=section.bias.entropy,
            fingerprint=config.fingerprint.build(),
            species=species_of(context.starts.values()),
            covariance=covariance,
            settings=replace(settings, ramp=_ramp(context, walker)),
            checkpoint_seconds=section.checkpoint_seconds,
            sent_back=reset.get(walker.id),
            stacked=Stacked(section.stacked.calculator, section.stacked.parameters)
            if section.stacked is not None and walker.stacked
            else None,
        )
        for walker in planned
    ]


def longer_jobs(context: Context, jobs: Sequence[WalkerJob], frames: int, piece: int) -> list[WalkerJob]:
    """The walkers that may judge, farther on once `jobs` are done: for a final look of so many audit frames.

    Frames of a short stretch err alike, and say little of others. These are to lie as far apart in time as the audit
    frames of any other round, and as σ takes to forget: that shows in what they have been through, so they go on in
    up to `PIECES` pieces. MD costs little beside labels.

    piece : 1 for the first. [] : they have gone far enough.
    """
    config, paths, every = context.config, context.paths, context.config.explore.snapshot_every
    judged, count = {walker.id for walker in judged_walkers(config)}, len(walkers_of(config))
    judging = [job for job in jobs if job.id in judged and job.settings.ramp is None]
    if not judging:
        return []
    before = {
        job.id: [job.shard, *(paths.longer_shard(job.round, job.id, k) for k in range(1, piece))] for job in judging
    }
    been = {walker: [read_exploration(shard) for shard in shards] for walker, shards in before.items()}
    wanted = frames / config.selection.audits * config.explore.steps
    if piece > 1:
        each = math.ceil(frames / len(judging))
        wanted = max(wanted, each * min(every * _frames_to_forget(judging, been), config.explore.steps))
    gone = max(sum(shard.done for shard in shards) for shards in been.values())
    steps = math.ceil((wanted - gone) / every) * every
    name = f"longer{'' if piece == 1 else piece}-"
    return [
        replace(
            job,
            shard=paths.longer_shard(job.round, job.id, piece),
            earlier=(before[job.id][-1],),
            checkpoint=paths.checkpoint(f"{name}{job.id}"),
            progress=paths.steps_done(f"{name}{job.id}"),
            seed=replace(job.seed, index=piece * count + job.seed.index),
            settings=replace(job.settings, steps=steps),
            sent_back=None,
        )
        for job in judging
        if steps > 0
    ]


def _frames_to_forget(jobs: Sequence[WalkerJob], been: Mapping[str, Sequence[Exploration]]) -> float:
    """Frames that are worth one independent frame, by σ along the trajectories, under the slowest condition."""
    logs: dict[Condition, list[list[float]]] = {}
    for job in jobs:
        scores = [s for shard in been[job.id] for s in shard.scores if s.finite and s.force_std > 0]
        logs.setdefault(job.condition, []).append([math.log(s.force_std) for s in scores])
    return max(statistical_inefficiency(series) for series in logs.values())


def _ramp(context: Context, walker: PlannedWalker) -> Ramp | None:
    """The schedule of a walker that has one."""
    section, explore = walker.section, context.config.explore
    if section is None:
        return None
    points = tuple(point.build(npt=explore.ensemble.kind == "npt") for point in section.points)
    start = context.starts[walker.condition.structure]
    cell = tuple(start.cell.array.ravel().tolist()) if section.strains else None
    return Ramp(points, explore.steps * section.rounds, cell)


def _shards(context: Context, number: int, walker: str) -> list[Path]:
    """What a walker wrote in a decided round, the oldest first: of a final look, what it visited beyond too.

    Who went on from before that would visit the look's frames again, with its very random numbers.
    """
    paths, looked = context.paths, context.state.record(number).facts.final_look
    pieces = (paths.longer_shard(number, walker, piece) for piece in range(1, PIECES + 1)) if looked else ()
    return [paths.shard(number, walker), *(piece for piece in pieces if piece.exists())]


def _earlier_rounds(
    context: Context, number: int, walker: PlannedWalker, ran: Mapping[int, Sequence[PlannedWalker]]
) -> tuple[int, ...]:
    """The rounds before `number` that the walker goes on from, the newest first; () where it begins.

    It goes on from those in which it ran (`ran`: the walkers of each round) and was what it is now; on a ramp, from
    those since the ramp began.
    """
    since = _since(context, number, walker)
    before = [k for k, walkers in ran.items() if k >= since and walker in walkers]
    return tuple(before[: len(before) % walker.rounds] if walker.rounds else before)


def _since(context: Context, number: int, walker: PlannedWalker) -> int:
    """The first of the rounds, up to `number`, in which the walker was what it is now: it goes on from those alone."""
    changed = [first for first, _ in context.settings.changes if 0 < first <= number]
    return max((k for k in changed if walker not in walkers_of(context.at(k - 1).config)), default=1)


def _first_since(round_of_reset: int, earlier: Sequence[int], number: int) -> bool:
    """Whether round `number` is the first of a walker's from `round_of_reset` on, and it goes on from `earlier`."""
    return bool(earlier) and earlier[0] < round_of_reset <= number


def set_going(context: Context, jobs: Sequence[WalkerJob]) -> list[Future[list[Path]]]:
    """Run walkers to the end of their round in the background, several at a time and several in a process."""
    size = walkers_together(context.config, [len(job.start) for job in jobs], context.workers.processes)
    parts = -(-len(jobs) // size)
    return context.workers.submit(run_walkers, [tuple(jobs[part::parts]) for part in range(parts)], context.root)


def walkers_together(config: CampaignConfig, atoms: Sequence[int], processes: int) -> int:
    """How many walkers advance in one process: see the key [executor] walkers_together. No result depends on it.

    atoms : of each walker's structure.
    """
    wanted = config.executor.walkers_together
    if wanted != "auto":
        return int(wanted)
    if choose_device("auto") != "cpu":
        return len(atoms)
    committee = config.committee
    member_drives = committee.driver == "mean" or isinstance(committee.driver, int)
    by_mace = committee.evaluation != "own" or committee.kind == "shallow" or config.baseline is not None
    if by_mace or not member_drives or max(atoms) > LARGE:
        return 1
    return -(-len(atoms) // processes)


def await_walkers(context: Context, jobs: Sequence[WalkerJob], pending: Sequence[Future[list[Path]]]) -> None:
    """Wait for walkers that were set going. The time of the wait is what is noted: they may have run before."""
    number, began = jobs[0].round, time.monotonic()
    total = float(jobs[0].settings.steps * len(jobs))
    stall = Stall(context.config.executor.walkers_stalled_s)
    while not context.workers.wait(pending, 0.5):
        done = sum(job.steps_done() for job in jobs)
        stall.look(done, any(future.running() for future in pending))
        context.progress.progress(f"round {number}: MD", done, total)
    results = [read_exploration(shard) for future in pending for shard in future.result()]
    context.progress.progress(f"round {number}: MD", total, total)
    wall = time.monotonic() - began
    # workers do both in turn: their own clocks say how the wall time divides
    md, scoring = sum(r.md_seconds for r in results), sum(r.scoring_seconds for r in results)
    share = md / (md + scoring) if md + scoring else 1.0
    context.note_phase("md", wall * share, number)
    context.note_phase("scoring", wall * (1 - share), number)


class Stall:
    """Tells when walkers at work come no further: `look` is to be called now and then.

    What it watches is real time, so that no result depends on it: it only ends a wait that nothing would end.
    """

    def __init__(self, limit_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit_s, self._clock = limit_s, clock
        self._steps, self._since = -1, clock()

    def look(self, steps: int, at_work: bool) -> None:
        """Raises MachineError where `steps` has been the same for longer than the limit, walkers being `at_work`."""
        now = self._clock()
        if steps != self._steps or not at_work:
            self._steps, self._since = steps, now
        elif now - self._since > self._limit_s:
            raise MachineError(
                f"the walkers, {steps} steps into their round together, have not come to their next frame for "
                f"{now - self._since:.0f} s. Is the machine overloaded or its memory swapped out? Where frames take "
                f"that long, raise [executor] walkers_stalled_s = {self._limit_s:g}, or make [explore] snapshot_every "
                "smaller. Then the same command goes on from the walkers' checkpoints."
            )


def rescored(
    context: Context, models: Path, covariance: Covariance, candidates: Sequence[Candidate]
) -> list[Candidate]:
    """The candidates with the scores that another committee and dataset give them."""
    config, shares = context.config, context.workers.processes
    began = time.monotonic()
    jobs = [
        ScoreJob(
            models=models,
            voters=config.committee.voters,
            dtype=config.committee.dtype,
            evaluation=config.committee.evaluation,
            fingerprint=config.fingerprint.build(),
            species=species_of(context.starts.values()),
            covariance=covariance,
            frames=tuple(_constrained(context, c) for c in candidates[share::shares]),
        )
        for share in range(shares)
    ]
    counted = partial(measured, context.root, "scoring", score_frames)
    parts = [future.result() for future in context.workers.submit(counted, jobs, context.root)]
    context.note_phase("scoring", time.monotonic() - began)
    return [replace(c, scores=parts[i % shares][i // shares]) for i, c in enumerate(candidates)]


def _constrained(context: Context, candidate: Candidate) -> Atoms:
    """The candidate's frame with the constraints under which its walker moved: a snapshot carries none."""
    atoms = candidate.snapshot.atoms.copy()
    atoms.set_constraint(context.starts[candidate.snapshot.condition.structure].constraints)
    return atoms


def with_exploration(facts: BatchFacts, shards: Sequence[Exploration], unbiased: Collection[str]) -> BatchFacts:
    """The facts of a batch with what its walkers tell: resets by reason, bias strengths. `unbiased`: walkers by id."""
    mishaps = Counter(mishap.reason for shard in shards for mishap in shard.mishaps)
    return replace(
        facts,
        mishaps=dict(mishaps),
        unhealthy=sum(mishaps.values()),
        plain_unhealthy=sum(len(s.mishaps) for s in shards if s.walker.id in unbiased),
        intervals=sum(len(s.mishaps) + sum(not q.before_mishap for q in s.snapshots) for s in shards),
        bias_strength_eV={s.walker.id: s.walker.bias_strength for s in shards},
    )
