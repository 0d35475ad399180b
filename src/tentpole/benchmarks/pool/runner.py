"""A benchmark in a folder: one file per seed, so that a run that was stopped goes on and seeds can be added."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tentpole.benchmarks.pool import models
from tentpole.benchmarks.pool.benchmark import BenchmarkProtocol, LearningTask, Measurement, run_seed
from tentpole.benchmarks.pool.features import LEAKS, describe, suspicious
from tentpole.benchmarks.pool.filters import ENERGY, formation_energies
from tentpole.benchmarks.pool.table import Pool
from tentpole.benchmarks.runs import POOL, refuse_all_but
from tentpole.errors import InputError, StateError
from tentpole.execution.pools import Workers
from tentpole.records import FloatArray
from tentpole.selection import make_rule
from tentpole.storage.atomic import read_json, write_json
from tentpole.storage.lock import Lock

VERSION = 1
MOST_SEEDS = 100_000
RULES = ("random", "uncertainty", "diversity", "hybrid", "logdet", "two_key", "adaptive")
# A campaign's two_key stops where gains are small in themselves. Here every rule has the same labels to spend, so
# both keys are relative: σ and gain at or above the candidates' medians.
RULE_SETTINGS: dict[str, dict[str, Any]] = {"two_key": {"gain": float("-inf"), "gain_of_median": 1.0}}


@dataclass(frozen=True)
class Settings:
    """What decides the result, seeds aside. `title` names the pool in tables and figures."""

    title: str
    target: str = ENERGY
    features: str = "leak-free"
    model: str = "networks"
    rules: tuple[str, ...] = RULES
    protocol: BenchmarkProtocol = field(default_factory=BenchmarkProtocol)


@dataclass(frozen=True)
class Results:
    """A finished benchmark: its settings, what was said of the data, and the measurements by seed."""

    settings: Settings
    about: Mapping[str, Any]
    measurements: tuple[Measurement, ...]

    @property
    def seeds(self) -> list[int]:
        """The seeds that are there, in order."""
        return sorted({m.seed for m in self.measurements})

    def curves(self, quantity: str) -> dict[str, FloatArray]:
        """Per rule a (seeds, rounds) array of a field of Measurement; a rule that ended early repeats its last."""
        rounds = 1 + max(m.round for m in self.measurements)
        table: dict[tuple[str, int], dict[int, float]] = {}
        for m in self.measurements:
            table.setdefault((m.rule, m.seed), {})[m.round] = float(getattr(m, quantity))
        return {
            rule: np.array(
                [[table[rule, seed][min(r, max(table[rule, seed]))] for r in range(rounds)] for seed in self.seeds]
            )
            for rule in self.settings.rules
        }


def prepare(pool: Pool, settings: Settings, against: Pool | None = None) -> tuple[LearningTask, dict[str, Any]]:
    """The task of a pool, and what a report says of it: rows, descriptors, notes, suspicious descriptors.

    Formation energies are made from total energies where the pool has only those. With `against`, the
    descriptors both pools have. Raises InputError for a target that is missing, text, or constant, for
    descriptors that are, and for too few rows.
    """
    inputs, target, names, notes = _table(pool, settings)
    elsewhere = None
    if against is not None:
        other_inputs, other_target, other_names, _ = _table(against, settings)
        shared = [name for name in names if name in other_names]
        if not shared:
            raise InputError("the two pools have no descriptor in common. Use --features composition.")
        inputs = inputs[:, [names.index(name) for name in shared]]
        elsewhere = (other_inputs[:, [other_names.index(name) for name in shared]], other_target)
        notes.append(f"both pools have {len(shared)} of these descriptors: {', '.join(shared)}")
        names = shared
    settings.protocol.check(len(target))
    leaking = {settings.target, *LEAKS.get(settings.target, ())}
    about = {
        "rows": len(target),
        "names": names,
        "contain_target": [name for name in names if name in leaking],
        "suspicious": suspicious(inputs, names, target),
        "notes": notes,
        "target_mean": float(target.mean()),
        "target_sd": float(target.std()),
        "rows_elsewhere": 0 if elsewhere is None else len(elsewhere[1]),
    }
    return LearningTask(inputs, target, elsewhere), about


def _table(pool: Pool, settings: Settings) -> tuple[FloatArray, FloatArray, list[str], list[str]]:
    notes = []
    if settings.target == ENERGY and ENERGY not in pool and {"energy_per_atom", "formula"} <= pool.columns.keys():
        pool = pool.with_column(ENERGY, formation_energies(pool))
        notes.append("formation energies made from energy_per_atom and the pool's own elements")
    target = pool.numeric(settings.target)
    finite = np.isfinite(target)
    if not finite.all():
        notes.append(f"{int((~finite).sum())} of {len(pool)} rows have no {settings.target} and are left out")
    pool, target = pool.take(finite), target[finite]
    if len(target) == 0 or np.ptp(target) == 0:
        raise InputError(
            f'column "{settings.target}" is {"empty" if len(target) == 0 else f"constant ({target[0]:g})"}: there '
            f"is nothing to learn. Numeric columns: {', '.join(pool.numeric_names)}."
        )
    features = describe(pool, settings.target, settings.features)
    return features.values, target[features.rows], list(features.names), [*notes, *features.notes]


def run(
    pool: Pool,
    settings: Settings,
    folder: Path,
    seeds: Sequence[int],
    *,
    against: Pool | None = None,
    workers: int = 1,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Results:
    """Run what is missing of the benchmark in `folder`, and read all of it.

    `workers` processes take a seed each, one thread apiece: a seed's result does not depend on their number.
    `on_progress` gets measurements made and measurements in all. Raises InputError for unusable data and
    StateError where the folder holds a benchmark of other settings or data.
    """
    _check_call(settings, seeds, workers)
    task, about = prepare(pool, settings, against)
    rules = {name: make_rule(name, **RULE_SETTINGS.get(name, {})) for name in settings.rules}
    job = _Job(task, rules, models.model(settings.model), settings.protocol, folder, _identity(task, settings, rules))
    refuse_all_but(POOL, folder)
    with Lock(folder):
        _claim(job, settings, about)
        _do(job, seeds, workers, on_progress)
        return load(folder)


@dataclass(frozen=True)
class _Job:
    """What all seeds of a benchmark share."""

    task: LearningTask
    rules: Mapping[str, Any]
    model: models.Model
    protocol: BenchmarkProtocol
    folder: Path
    identity: str


def _check_call(settings: Settings, seeds: Sequence[int], workers: int) -> None:
    if not seeds:
        raise InputError("no seeds given. Legal: --seeds 5 and more.")
    if len(seeds) > MOST_SEEDS or min(seeds) < 0:
        raise InputError(
            f"--seeds {len(seeds)} --first-seed {seeds[0]}: legal are up to {MOST_SEEDS} seeds, each 0 or more."
        )
    if workers < 1:
        raise InputError(f"--workers {workers}: 1 or more; without it, one per core.")
    if not settings.rules:
        raise InputError("no rules given. Legal: --rules random,uncertainty, or no --rules for all.")
    for name in settings.rules:
        if settings.rules.count(name) > 1:
            raise InputError(f'rules: "{name}" is named twice. Name each rule once.')


def _claim(job: _Job, settings: Settings, about: Mapping[str, Any]) -> None:
    """Make the folder this benchmark's, or see that it is. Raises StateError where it is another's."""
    path = job.folder / "benchmark.json"
    if path.exists():
        stored = _read(path, "identity", "settings")
        if stored["identity"] != job.identity:
            known = stored["settings"]
            raise StateError(
                f"{job.folder} holds a benchmark of other settings or data ({known['title']}, target "
                f"{known['target']}, features {known['features']}). Give another --out."
            )
        return
    for file in _seed_files(job.folder):
        if read_json(file).get("identity") != job.identity:
            raise StateError(
                f"{file}: of other settings or data than those given now, or of a version that did not say of which, "
                f"and {path.name} is not there to tell. Give another --out, or delete {file.parent}."
            )
    write_json(path, {"version": VERSION, "identity": job.identity, "settings": asdict(settings), "about": dict(about)})


def _do(job: _Job, seeds: Sequence[int], workers: int, on_progress: Callable[[int, int], None]) -> None:
    """The seeds that are missing; what was stopped half-way is begun anew by the next call."""
    missing = [seed for seed in seeds if not _seed_file(job.folder, seed).exists()]
    per_seed = len(job.rules) * job.protocol.rounds
    done, total = per_seed * (len(seeds) - len(missing)), per_seed * len(seeds)
    on_progress(done, total)
    if workers == 1 or len(missing) < 2:
        for before, seed in enumerate(missing):
            _one_seed(job, seed, _Count(done + before * per_seed, total, on_progress))
        return
    hired = Workers(min(workers, len(missing)))
    try:
        for number, future in enumerate(as_completed(hired.submit(partial(_one_seed, job), missing, job.folder)), 1):
            future.result()
            on_progress(done + number * per_seed, total)
    except BrokenExecutor:
        raise StateError(
            f"a worker process died, perhaps for lack of memory. Finished seeds are kept in {job.folder}: give the "
            "same command again, with --workers 1."
        ) from None
    finally:
        hired.close(at_once=True)


class _Count:
    """Tells of each measurement as it is made."""

    def __init__(self, done: int, total: int, on_progress: Callable[[int, int], None]) -> None:
        self.done, self.total, self._on_progress = done, total, on_progress

    def __call__(self, _: Measurement) -> None:
        self.done += 1
        self._on_progress(self.done, self.total)


def load(folder: Path) -> Results:
    """The benchmark in `folder`, all seeds that are there. Raises InputError where there is none."""
    path = folder / "benchmark.json"
    if not path.exists():
        raise InputError(f"{folder}: there is no benchmark (benchmark.json). Make one by `tentpole pool run`.")
    stored = _read(path, "identity", "settings", "about")
    given = dict(stored["settings"])
    settings = Settings(**{**given, "rules": tuple(given["rules"]), "protocol": BenchmarkProtocol(**given["protocol"])})
    measurements: list[Measurement] = []
    for file in _seed_files(folder):
        content = _read(file, "measurements")
        if content.get("identity", stored["identity"]) != stored["identity"]:
            raise StateError(f"{file}: of other settings or data than {path.name}. Delete it: it is then made anew.")
        measurements += [Measurement(**row) for row in content["measurements"]]
    if not measurements:
        raise InputError(f"{folder}: no seed is finished. Give the same `tentpole pool run` again.")
    return Results(settings, stored["about"], tuple(measurements))


def _read(path: Path, *keys: str) -> dict[str, Any]:
    """A file of a benchmark. Raises StateError where it is damaged, newer than this version, or lacks a key."""
    content = read_json(path)
    version = content.get("version")
    if not isinstance(version, int) or version > VERSION:
        raise StateError(f"{path}: format version {version}, this Tentpole reads up to {VERSION}.")
    if lacking := [key for key in keys if key not in content]:
        raise StateError(f"{path}: lacks {', '.join(lacking)}. Restore it from a copy, or delete it.")
    return content


def _seed_files(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "seeds").glob("*.json") if path.stem.isdecimal())


def _seed_file(folder: Path, seed: int) -> Path:
    return folder / "seeds" / f"{seed:05d}.json"


def _identity(task: LearningTask, settings: Settings, rules: Mapping[str, Any]) -> str:
    """Names data and settings, those of the rules and the model among them."""
    what = [asdict(settings), {name: repr(rule) for name, rule in rules.items()}, repr(models.model(settings.model))]
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode())
    for array in (task.inputs, task.target, *(task.elsewhere or ())):
        digest.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
    return digest.hexdigest()[:32]


def _one_seed(job: _Job, seed: int, on_round: Callable[[Measurement], None] = lambda _: None) -> None:
    with one_thread():
        measurements, chosen = run_seed(job.task, job.rules, job.model, job.protocol, seed, on_round)
    rows = [asdict(m) for m in measurements]
    content = {"version": VERSION, "identity": job.identity, "measurements": rows, "labels": chosen}
    write_json(_seed_file(job.folder, seed), content)


@contextmanager
def one_thread() -> Any:
    """BLAS on one thread inside: the arrays are small, and the sums have one order."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(1):
        yield
