"""Exploration of a round: its walkers and their conditions, set going, awaited; frames scored again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tentpole.campaign.context import Context
from tentpole.campaign.dataset import species_of
from tentpole.execution.metering import measured
from tentpole.exploration import Exploration, ExploreSettings, WalkerSeed
from tentpole.exploration.files import read_exploration
from tentpole.exploration.jobs import ScoreJob, WalkerJob, WalkerReset, run_walker, score_frames
from tentpole.records import Candidate, Condition

if TYPE_CHECKING:
    from tentpole.entropy import Covariance


def walker_conditions(work: Context) -> list[tuple[str, Condition, float]]:
    """Id, condition and bias ratio of every walker: one per structure, temperature, pressure and ratio."""
    explore = work.config.explore
    found = [
        (Condition(name, temperature, pressure), ratio)
        for name in work.starts
        for temperature in explore.temperatures_K
        for pressure in explore.pressures
        for ratio in explore.bias.ratios
    ]
    return [(f"w{i:02d}", condition, ratio) for i, (condition, ratio) in enumerate(found)]


def walker_jobs(
    work: Context, round: int, models: Path, covariance: Covariance, sent_back: Sequence[WalkerReset] = ()
) -> list[WalkerJob]:
    """One job per walker: this round with that committee and dataset, from where the walker is or was sent back to."""
    config, section = work.config, work.config.explore
    settings = ExploreSettings(
        section.steps,
        section.snapshot_every,
        section.max_force_std_eV_per_A,
        section.ensemble.build(),
        section.health.build(),
        section.keep_last_sound,
    )
    back = {sent.walker: sent for sent in sent_back if sent.round == round}
    return [
        WalkerJob(
            root=work.root,
            round=round,
            id=id,
            seed=WalkerSeed(config.seed, round, i, config.random_numbers),
            condition=condition,
            start=work.starts[condition.structure],
            models=models,
            driver=config.committee.driver,
            voters=config.committee.voters,
            dtype=config.committee.dtype,
            ratio=ratio,
            entropy=section.bias.entropy,
            fingerprint=config.fingerprint.build(),
            species=species_of(work.starts.values()),
            covariance=covariance,
            settings=settings,
            checkpoint_seconds=section.checkpoint_seconds,
            sent_back=back.get(id),
        )
        for i, (id, condition, ratio) in enumerate(walker_conditions(work))
    ]


def set_going(work: Context, jobs: Sequence[WalkerJob]) -> list[Future[Path]]:
    """Run walkers to the end of their round, several at a time, in the background."""
    return work.workers.submit(run_walker, jobs, work.root)


def await_walkers(work: Context, jobs: Sequence[WalkerJob], pending: Sequence[Future[Path]]) -> None:
    """Wait for walkers that were set going. The time of the wait is what is noted: they may have run before."""
    round, began = jobs[0].round, time.monotonic()
    total = float(jobs[0].settings.steps * len(jobs))
    while not work.workers.wait(pending, 0.5):
        work.watch.progress(f"round {round}: MD", sum(job.steps_done() for job in jobs), total)
    results = [read_exploration(future.result()) for future in pending]
    work.watch.progress(f"round {round}: MD", total, total)
    wall = time.monotonic() - began
    # workers do both in turn: their own clocks say how the wall time divides
    md, scoring = sum(r.md_seconds for r in results), sum(r.scoring_seconds for r in results)
    share = md / (md + scoring) if md + scoring else 1.0
    work.note_phase("md", wall * share, round)
    work.note_phase("scoring", wall * (1 - share), round)


def rescored(work: Context, models: Path, covariance: Covariance, candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates with the scores that another committee and dataset give them."""
    config, shares = work.config, work.workers.processes
    began = time.monotonic()
    jobs = [
        ScoreJob(
            models=models,
            voters=config.committee.voters,
            dtype=config.committee.dtype,
            fingerprint=config.fingerprint.build(),
            species=species_of(work.starts.values()),
            covariance=covariance,
            frames=tuple(c.snapshot.atoms for c in candidates[share::shares]),
        )
        for share in range(shares)
    ]
    counted = partial(measured, work.root, "scoring", score_frames)
    parts = [future.result() for future in work.workers.submit(counted, jobs, work.root)]
    work.note_phase("scoring", time.monotonic() - began)
    return [replace(c, scores=parts[i % shares][i // shares]) for i, c in enumerate(candidates)]


def exploration_facts(shards: Sequence[Exploration], ratios: dict[str, float]) -> dict[str, Any]:
    """What the round's report needs of the walkers: mishaps by reason, bias strengths."""
    mishaps: dict[str, int] = {}
    for shard in shards:
        for mishap in shard.mishaps:
            mishaps[mishap.reason] = mishaps.get(mishap.reason, 0) + 1
    return {
        "mishaps": mishaps,
        "unhealthy": sum(mishaps.values()),
        "plain_unhealthy": sum(len(s.mishaps) for s in shards if ratios[s.walker.id] == 0),
        "intervals": sum(len(s.mishaps) + sum(not q.before_mishap for q in s.snapshots) for s in shards),
        "bias_strength_eV": {s.walker.id: s.walker.bias_strength for s in shards},
    }
