"""The loop over a labelled set: train, score the pool, choose, reveal the labels, train again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.io import write

from tentpole.benchmarks.qbc.data import Split, split
from tentpole.benchmarks.qbc.measures import measure
from tentpole.benchmarks.runs import LOG, QBC, do_all, logged, refuse_all_but
from tentpole.committee import Committee
from tentpole.entropy import GOM, Covariance, GradientFeatures
from tentpole.errors import InputError, StateError, TentpoleError, unknown
from tentpole.execution.pools import Workers
from tentpole.records import FloatArray
from tentpole.selection import Candidates, Gradient, Labelled, SelectionRule, make_rule
from tentpole.storage.atomic import read_json, write_json
from tentpole.storage.labelled import read_labelled
from tentpole.storage.lock import Lock
from tentpole.training import MACESettings, TrainingJob, TrainingReport, train_committee
from tentpole.training.settings import completed

VERSION = 1
INITIAL = "initial"
"""The run that trains what all rules of a seed start from."""


@dataclass(frozen=True, slots=True)
class QBCSettings:
    """A query-by-committee study.

    data : labelled extended XYZ; energy_key, forces_key, missing : as read_labelled takes them.
    initial, test, valid : frames to start from, to test on, and to validate trainings on. batch : labels per
    round. maximum : training frames to end at. rules : selection rules with their settings; a variant under a name
    of its own says which by `rule`. seeds : one run each per rule; the initial frames depend on the seed and on
    nothing else, so that rules start alike. test_seed : of the test and validation frames; None: the run's own seed, so
    that rules are judged alike under each seed and intervals over seeds count the choice of test frames too. A rule
    with `sees = "error"` is shown the true force error of each frame instead of σ: what taking the largest errors first
    brings. That bounds no other rule.
    members, committee : deep (that many networks) or shallow (that many heads). warm_start : go on from the last
    round's weights (deep only). plateau : each training goes on until its errors no longer fall, so that rules are
    compared at equal convergence; false: for the updates of `training` (shallow committees always). cutoff : Å, of the
    fingerprint that gains are computed with. training : of members.
    """

    data: Path
    energy_key: str | None = None
    forces_key: str | None = None
    missing: Literal["refuse", "skip"] = "refuse"
    initial: int = 20
    test: int = 50
    valid: int = 20
    batch: int = 10
    maximum: int = 120
    rules: Mapping[str, Mapping[str, Any]] = field(
        default_factory=lambda: {"random": {}, "uncertainty": {}, "two_key": {}, "logdet": {}}
    )
    seeds: Sequence[int] = (0, 1, 2)
    test_seed: int | None = None
    members: int = 4
    committee: Literal["deep", "shallow"] = "deep"
    warm_start: bool = True
    plateau: bool = True
    cutoff: float = 5.0
    training: MACESettings = field(default_factory=MACESettings)

    def __post_init__(self) -> None:
        for name in self.rules:
            chooser_of(self, name)
        if self.members < 2:
            raise InputError(f"members = {self.members}: a committee needs at least two")
        if self.maximum <= self.initial:
            raise InputError(f"maximum = {self.maximum} must be above initial = {self.initial}")
        if self.committee == "shallow" and self.warm_start:
            raise InputError("a shallow committee is trained from scratch each round: set warm_start = false")


def run(
    settings: QBCSettings,
    folder: Path,
    *,
    parallel: int | None = None,
    on_round: Callable[[str, int, dict[str, Any]], None] | None = None,
) -> list[Path]:
    """Do every run of the study, `parallel` at a time (None: one per two cores), in processes of their own.

    Finished rounds are not repeated: the same call goes on after a kill. on_round(rule, seed, measures) is
    called as rounds end. Returns the runs' folders. Raises InputError for bad settings, StateError where the
    folder belongs to another study or another driver works there, TentpoleError where a run failed, when the others
    of its stage have ended.
    """
    cores = os.cpu_count() or 1
    limit = parallel or max(1, cores // 2)
    starts = [(INITIAL, seed) for seed in settings.seeds]
    runs = [(name, seed) for seed in settings.seeds for name in settings.rules]
    refuse_all_but(QBC, folder)
    with Lock(folder):
        _claim(settings, folder)
        hired = Workers(limit)
        try:
            for stage in (starts, runs):  # the runs start from what the first ones train
                failed = _do(hired, folder, stage, max(1, cores // limit), on_round)
                if failed:
                    raise TentpoleError(f"{len(failed)} runs failed: {'; '.join(failed)}. The same command goes on.")
        finally:
            hired.close(at_once=True)
    return [run_folder(folder, name, seed) for name, seed in runs]


def _claim(settings: QBCSettings, folder: Path) -> None:
    """Make the folder this study's, or see that it is; rules and seeds may join."""
    content, stored = settings_to_json(settings), folder / "settings.json"
    if not stored.is_file():
        prepare_split(settings)  # refuses bad data before anything is written
    elif different := _differences(content, read_json(stored)):
        raise StateError(
            f"{folder} holds another study ({', '.join(different)} differ): take another folder. Rules and seeds "
            "may be added."
        )
    write_json(stored, content)


def _do(
    hired: Workers,
    folder: Path,
    runs: Sequence[tuple[str, int]],
    threads: int,
    on_round: Callable[[str, int, dict[str, Any]], None] | None,
) -> list[str]:
    """Each of the runs in a worker, rounds told as they end. Returns which failed, and where to look."""
    told: set[Path] = set()

    def look() -> None:
        for name, seed in runs:
            for path in rounds(run_folder(folder, name, seed)):
                if on_round is not None and path not in told:
                    told.add(path)
                    on_round(name, seed, read_json(path))

    failed = do_all(hired, partial(_in_a_worker, folder, threads), runs, folder, look)
    return [
        f"{name}, seed {seed}: {error} (see {run_folder(folder, name, seed) / LOG})" for (name, seed), error in failed
    ]


def _in_a_worker(folder: Path, threads: int, run: tuple[str, int]) -> None:
    """One run, in a process that others like it stand beside."""
    import torch

    name, seed = run
    torch.set_num_threads(threads)  # runs beside this one want their cores
    settings = settings_from_json(read_json(folder / "settings.json"))
    with logged(run_folder(folder, name, seed)):
        run_one(settings, folder, name, seed, workers=threads)


def run_one(settings: QBCSettings, folder: Path, name: str, seed: int, *, workers: int = 2) -> list[dict[str, Any]]:
    """One rule, one seed, in this process: rounds until `maximum` frames or nothing is worth a label."""
    frames, parts = prepare_split(settings, seed)
    place = run_folder(folder, name, seed)
    initial = run_folder(folder, INITIAL, seed)
    start = _train(settings, initial, frames, parts.initial, parts, seed, 0, workers, None)
    if name == INITIAL:
        return []
    chooser = chooser_of(settings, name)
    gom = GOM(settings.cutoff)
    rows = [gom.fingerprints(atoms) for atoms in frames]
    training, pool = list(parts.initial), list(parts.pool)
    results: list[dict[str, Any]] = []
    previous: list[Path] | None = None
    for number in range(1 + -(-(settings.maximum - settings.initial) // settings.batch)):
        here = place / f"round-{number:02d}"
        done = here / "round.json"
        models = here if number else initial
        if not done.is_file():
            reports = start
            if number:
                reports = _train(settings, here, frames, training, parts, seed, number, workers, previous)
            committee = Committee.load(models / "models", dtype=settings.training.dtype)
            result = measure(committee, *([frames[k] for k in part] for part in (parts.test, parts.valid, pool)))
            room = min(settings.batch, settings.maximum - len(training))
            picks = []
            if room > 0:
                sigma = result.pool_error if settings.rules[name].get("sees") == "error" else result.pool_sigma
                shown, known = _shown(chooser, committee, frames, rows, pool, training, sigma)
                picks = chooser.select(shown, known, room, np.random.default_rng([seed, number]))
            chosen = [pool[p.index] for p in picks]
            left = np.setdiff1d(np.arange(len(pool)), [p.index for p in picks])
            summary = result.summary | {
                "version": VERSION,
                "rule": name,
                "seed": seed,
                "round": number,
                "n": len(training),
                "training_seconds": sum(report.seconds for report in reports),
                "picked": chosen,
                "reasons": [p.reason for p in picks],
                "sigma_selected": _mean(result.pool_sigma[[p.index for p in picks]]),
                "sigma_remaining": _mean(result.pool_sigma[left]),
            }
            write_json(done, summary)
        content = read_json(done)
        results.append(content)
        chosen = content["picked"]
        if not chosen:
            break
        training += chosen
        pool = [k for k in pool if k not in set(chosen)]
        previous = _stems(models, settings)
    return results


def _shown(
    chooser: SelectionRule,
    committee: Committee,
    frames: Sequence[Atoms],
    rows: Sequence[FloatArray],
    pool: Sequence[int],
    training: Sequence[int],
    sigma: FloatArray,
) -> tuple[Candidates, Labelled]:
    """The pool and the training frames as the rule sees them: by fingerprints, or by the first member's gradient."""
    ids, groups = [str(k) for k in pool], ["pool"] * len(pool)
    if isinstance(chooser, Gradient):
        features = GradientFeatures(committee).rows([frames[k] for k in [*pool, *training]])
        return Candidates(ids, sigma, features[: len(pool)], groups), Labelled(features[len(pool) :])
    covariance = Covariance()
    for k in training:
        covariance.add(rows[k])
    known = Labelled.of_rows([rows[k] for k in training], ["pool"] * len(training), covariance)
    return Candidates.of_rows(ids=ids, sigma=sigma, rows=[rows[k] for k in pool], conditions=groups), known


def chooser_of(settings: QBCSettings, name: str) -> SelectionRule:
    """The selection rule that the study calls `name`. Raises InputError."""
    if name == INITIAL:
        raise InputError(f'no rule may be called "{INITIAL}": the common start of all rules is')
    given = dict(settings.rules[name])
    if (seen := given.pop("sees", "sigma")) not in ("sigma", "error"):
        raise unknown("value", str(seen), ("sigma", "error"), where=f"rules.{name}.sees")
    return make_rule(given.pop("rule", name), **given)


def prepare_split(settings: QBCSettings, seed: int = 0) -> tuple[list[Atoms], Split]:
    """The frames and their split: test and validation frames by `test_seed`, or by `seed` where that is None."""
    read = read_labelled(
        settings.data, energy_key=settings.energy_key, forces_key=settings.forces_key, missing=settings.missing
    )
    judged = seed if settings.test_seed is None else settings.test_seed
    base = split(read.frames, initial=settings.initial, valid=settings.valid, test=settings.test, seed=judged)
    rest = np.random.default_rng([seed, 1]).permutation(sorted(base.initial + base.pool)).tolist()
    if len(rest) < settings.maximum:
        raise InputError(f"maximum = {settings.maximum} is more than the {len(rest)} frames that can be trained on")
    start = settings.initial
    return read.frames, Split(sorted(rest[:start]), base.valid, base.test, sorted(rest[start:]), base.left_out)


def run_folder(folder: Path, name: str, seed: int) -> Path:
    """Where the run of one rule and seed is kept."""
    return folder / "runs" / f"{name}-{seed}"


def rounds(place: Path) -> list[Path]:
    """The finished rounds of a run, in order."""
    return sorted(place.glob("round-*/round.json"))


def settings_to_json(settings: QBCSettings) -> dict[str, Any]:
    """What settings.json holds."""
    content: dict[str, Any] = json.loads(json.dumps(asdict(settings), default=str))
    return {"version": VERSION, **content, "data": str(Path(settings.data).resolve())}


def settings_from_json(content: Mapping[str, Any]) -> QBCSettings:
    """The settings that `settings_to_json` was given."""
    before = {"plateau": False}  # what studies of earlier versions leave unsaid
    fields = before | {key: value for key, value in content.items() if key != "version"}
    return QBCSettings(**{**fields, "data": Path(fields["data"]), "training": MACESettings(**fields["training"])})


def _differences(new: dict[str, Any], old: dict[str, Any]) -> list[str]:
    """What keeps a study from being the one in its folder: seeds and rules may join, no rule may change."""
    old = {"plateau": False, **old, "training": completed(old["training"])}
    both = set(new["rules"]) & set(old["rules"])
    changed = [f"rules.{name}" for name in both if new["rules"][name] != old["rules"][name]]
    others = [key for key in new if key not in ("rules", "seeds") and new[key] != old.get(key)]
    return sorted(changed + others)


def _stems(here: Path, settings: QBCSettings) -> list[Path]:
    count = 1 if settings.committee == "shallow" else settings.members
    return [here / "models" / f"member-{k}" for k in range(count)]


def _train(
    settings: QBCSettings,
    here: Path,
    frames: Sequence[Atoms],
    training: Sequence[int],
    parts: Split,
    seed: int,
    number: int,
    workers: int,
    previous: Sequence[Path] | None,
) -> list[TrainingReport]:
    here.mkdir(parents=True, exist_ok=True)
    write(here / "train.xyz", [frames[k] for k in training], format="extxyz")
    write(here / "valid.xyz", [frames[k] for k in parts.valid], format="extxyz")
    stems = _stems(here, settings)
    jobs = [
        TrainingJob(
            member=k,
            seed=10_000 * seed + 100 * number + k,
            train=here / "train.xyz",
            valid=here / "valid.xyz",
            folder=here / "logs",
            out=stem,
            warm_start=previous[k] if previous and settings.warm_start else None,
            heads=settings.members if settings.committee == "shallow" else 1,
        )
        for k, stem in enumerate(stems)
    ]
    finishing = settings.plateau and settings.committee == "deep" and settings.training.loop == "stacked"
    return train_committee(jobs, settings.training, workers, finishing=finishing)


def _mean(values: Any) -> float | None:
    return float(np.mean(values)) if len(values) else None
