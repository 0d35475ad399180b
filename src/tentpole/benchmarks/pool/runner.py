"""A benchmark in a folder: one file per seed, so that a run that was stopped goes on and seeds can be added."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from tentpole.benchmarks.pool import models
from tentpole.benchmarks.pool.benchmark import BenchmarkProtocol, LearningTask, Measurement, run_seed
from tentpole.benchmarks.pool.features import LEAKS, describe, suspicious
from tentpole.benchmarks.pool.filters import ENERGY, formation_energies
from tentpole.benchmarks.pool.table import Pool
from tentpole.errors import InputError, StateError
from tentpole.execution.local import without_current_folder
from tentpole.records import FloatArray
from tentpole.selection import make_rule
from tentpole.storage.atomic import read_json, write_json

VERSION = 1
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
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Results:
    """Run what is missing of the benchmark in `folder`, and read all of it.

    `workers` processes take a seed each, one thread apiece: a seed's result does not depend on their number.
    `on_progress` gets measurements made and measurements in all. Raises InputError for unusable data and
    StateError where the folder holds a benchmark of other settings or data.
    """
    if not seeds:
        raise InputError("no seeds given. Legal: --seeds 5 and more.")
    task, about = prepare(pool, settings, against)
    rules = {name: make_rule(name, **RULE_SETTINGS.get(name, {})) for name in settings.rules}
    model = models.model(settings.model)
    identity = _identity(task, settings, rules)
    path = folder / "benchmark.json"
    if path.exists():
        stored = read_json(path)
        if stored["identity"] != identity:
            raise StateError(
                f"{folder} holds a benchmark of other settings or data ({stored['settings']['title']}, target "
                f"{stored['settings']['target']}, features {stored['settings']['features']}). Give another --out."
            )
    else:
        write_json(path, {"version": VERSION, "identity": identity, "settings": asdict(settings), "about": about})
    missing = [seed for seed in seeds if not _seed_file(folder, seed).exists()]
    per_seed = len(rules) * settings.protocol.rounds
    total, done = per_seed * len(seeds), per_seed * (len(seeds) - len(missing))
    on_progress(done, total)
    if workers > 1 and len(missing) > 1:
        # workers are forked from a process without threads that has imported, once, what each of them needs
        context = get_context("forkserver")
        context.set_forkserver_preload(["tentpole.benchmarks.pool.benchmark", "scipy.stats", "sklearn.cluster"])
        executor = ProcessPoolExecutor(min(workers, len(missing)), mp_context=context)
        try:
            arguments = (task, rules, model, settings.protocol)
            with without_current_folder():
                jobs = [executor.submit(_one_seed, *arguments, seed, folder) for seed in missing]
            for job in as_completed(jobs):
                job.result()
                done += per_seed
                on_progress(done, total)
        except BrokenProcessPool:
            raise StateError(
                f"a worker process died, perhaps for lack of memory. Finished seeds are kept in {folder}: give the "
                "same command again, with --workers 1."
            ) from None
        finally:
            executor.shutdown(cancel_futures=True)  # stopped half-way: seeds under way are finished, no others
    else:
        for seed in missing:
            made = 0

            def count(measurement: Measurement) -> None:
                nonlocal made
                made += 1
                on_progress(done + made, total)  # noqa: B023 - called within this turn of the loop

            _one_seed(task, rules, model, settings.protocol, seed, folder, count)
            done += per_seed
    return load(folder)


def load(folder: Path) -> Results:
    """The benchmark in `folder`, all seeds that are there. Raises InputError where there is none."""
    path = folder / "benchmark.json"
    if not path.exists():
        raise InputError(f"{folder}: there is no benchmark (benchmark.json). Make one by `tentpole pool run`.")
    stored = read_json(path)
    if stored["version"] > VERSION:
        raise StateError(f"{path}: format version {stored['version']}, this Tentpole reads up to {VERSION}.")
    given = dict(stored["settings"])
    settings = Settings(**{**given, "rules": tuple(given["rules"]), "protocol": BenchmarkProtocol(**given["protocol"])})
    measurements = [
        Measurement(**row)
        for file in sorted((folder / "seeds").glob("*.json"))
        for row in read_json(file)["measurements"]
    ]
    if not measurements:
        raise InputError(f"{folder}: no seed is finished. Give the same `tentpole pool run` again.")
    return Results(settings, stored["about"], tuple(measurements))


def _seed_file(folder: Path, seed: int) -> Path:
    return folder / "seeds" / f"{seed:05d}.json"


def _identity(task: LearningTask, settings: Settings, rules: Mapping[str, Any]) -> str:
    """Names data and settings, those of the rules and the model among them."""
    what = [asdict(settings), {name: repr(rule) for name, rule in rules.items()}, repr(models.model(settings.model))]
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode())
    for array in (task.inputs, task.target, *(task.elsewhere or ())):
        digest.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
    return digest.hexdigest()[:32]


def _one_seed(
    task: LearningTask,
    rules: Mapping[str, Any],
    model: models.Model,
    protocol: BenchmarkProtocol,
    seed: int,
    folder: Path,
    on_round: Callable[[Measurement], None] = lambda measurement: None,
) -> None:
    with one_thread():
        measurements, chosen = run_seed(task, rules, model, protocol, seed, on_round)
    rows = [asdict(m) for m in measurements]
    write_json(_seed_file(folder, seed), {"version": VERSION, "measurements": rows, "labels": chosen})


@contextmanager
def one_thread() -> Any:
    """BLAS on one thread inside: the arrays are small, and the sums have one order."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(1):
        yield
