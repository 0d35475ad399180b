"""What members know before the first label: force errors against labels, from scratch and from a pretrained committee.

    python scripts/bench_start.py OUT [--system zundel] [--seeds 0 1 2] [--arms random two_key]
        [--starts pretrained scratch difference both linear both_linear foundation frozen mace lora replay]
        [--labels 10 20 30 60 120]
        [--members 4] [--training channels=32 max_ell=3 …] [--minutes 14] [--table]

The labels of "zundel" are the 1000 DFT frames of ../shared/data/zundel; 100 of them test, the same for all (twins are
in no two sets), and the rest is the pool. The cheap reference is GFN2-xTB: 1200 frames of its own MD at 300, 600 and
900 K, which share nothing with the pool but the molecule. "ethanol" has labels by GFN2-xTB along its own MD, and
GFN1-xTB as the cheap reference; "silicon" the frames of mlearn in ../shared/data/silicon (energies, forces and stress
by VASP), and CHGNet, which labels the pool's structures in place of MD of its own.

A chain is one seed of one arm: members are trained on the first 10 labels, from random weights or from members
pretrained with seeds of their own, then the rule chooses among the pool what is trained on next, and each training goes
on from the last one's weights, as in a campaign. Scratch and pretrained chains have the same first labels and the same
number of updates on the labels; the pretraining's own (4000) come on top. The start "difference" learns what DFT says
beyond GFN2-xTB, from random weights, as [baseline] has it: each later evaluation pays for GFN2-xTB too. "both" learns
that with the bodies of the pretrained members and fresh readouts, as [baseline] and [pretraining] together have it.
"linear" and "both_linear" are "pretrained" and "both" with solve = "instead": each time a solution, from the start.
The start "foundation" is a toy foundation model: the first pretrained member's body in all members, random readouts in
each; "frozen" trains these alone; "mace", "lora" and "replay" have the same start and are trained by mace's own
command, all weights, by changes of low rank, and while the model's own labels of the cheap frames are replayed. Of the
arms "gradient" picks where the variance is largest, "mean_gradient" what lowers its mean the most; "spread_RULE" takes
its first labels by the rule diversity instead of at random, "first_RULE" by the rule itself, in the gradients of what
members were pretrained to.
--training gives keys of a campaign's [training], the same for every piece in OUT.
Everything is done by the functions that a campaign calls; peak and CPU time are those of the training processes.

Every piece is a file in OUT; the same command goes on where it was stopped. --minutes ends it between two pieces. The
last line is JSON: for each target error the labels that it took, by log-log interpolation, per seed and as ratios.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import math
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import read
from ase.units import GPa
from scipy.stats import t as student

from tentpole.benchmarks.qbc.data import split
from tentpole.benchmarks.qbc.measures import measure
from tentpole.campaign.evaluation import refitted_energies
from tentpole.cli.files import settings_of
from tentpole.committee import Committee
from tentpole.config.sections import read_as
from tentpole.entropy import GOM, Covariance, GradientFeatures
from tentpole.errors import InputError
from tentpole.exploration.initial import ReferenceMD, reference_md
from tentpole.labeling import references
from tentpole.selection import Candidates, Gradient, Labelled, make_rule
from tentpole.storage.atomic import read_json, write_json
from tentpole.storage.labelled import read_labelled
from tentpole.storage.structures import write_frames
from tentpole.training import MACESettings, TrainingJob, train_committee
from tentpole.training.frames import difference_energies
from tentpole.training.readouts import first_settings, write_fresh_members
from tentpole.training.replay import write_pseudo_labels

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
START = Path(__file__).resolve().parents[1] / "examples" / "01_zundel" / "zundel.xyz"
TEST, VALID = 100, 20
PRE_FRAMES, PRE_UPDATES = 1200, 4000
OF_ONE_MODEL = {
    "foundation": {},
    "frozen": {"finetuning": "frozen"},
    "mace": {"loop": "mace"},
    "lora": {"loop": "mace", "finetuning": "lora"},
    "replay": {"loop": "mace", "finetuning": "replay"},
}
"""Settings of the starts that have the toy foundation model's body."""
LINEAR = ("linear", "both_linear")
OF_DIFFERENCES = ("difference", "both", "both_linear")
STARTS = ("scratch", "pretrained", "difference", "both", *LINEAR, *OF_ONE_MODEL)
TARGETS = (20.0, 15.0, 12.5, 10.0)  # meV/Å


@dataclass(frozen=True)
class Cheap:
    """A cheap reference, and what members learn it from: its own MD at some temperatures, or else the pool's frames."""

    reference: str
    start: Atoms
    temperatures_K: tuple[float, ...] = (300.0, 600.0, 900.0)
    frames: int = PRE_FRAMES


@dataclass(frozen=True)
class Data:
    """Labelled frames, which of them test, calibrate and may be chosen, and the cheap reference beside them."""

    frames: list[Atoms]
    test: list[int]
    valid: list[int]
    pool: list[int]
    cheap: Cheap


def zundel(out: Path) -> Data:
    found = read_labelled(SHARED / "zundel" / "zundel_dft_1000.extxyz").frames
    return divided([atoms for atoms in found if len(atoms) == 7], Cheap("xtb", in_state(read(START), charge=1)))


def ethanol(out: Path) -> Data:
    start = in_state(molecule("CH3CH2OH"), charge=0)
    return divided(own_md(Cheap("xtb", start, (300.0, 600.0), 600), out, "labels"), Cheap("xtb-gfn1", start))


def silicon(out: Path) -> Data:
    parts = [read_labelled(SHARED / "silicon" / f"Si_{name}.extxyz").frames for name in ("training", "test")]
    frames = [atoms for part in parts for atoms in part]
    rng = np.random.default_rng(0)
    rest, last = rng.permutation(len(parts[0])).tolist(), list(range(len(parts[0]), len(frames)))
    return Data(frames, rest[:25] + last, rest[25:45], sorted(rest[45:]), Cheap("chgnet", bulk("Si", cubic=True), ()))


SYSTEMS = {"zundel": zundel, "ethanol": ethanol, "silicon": silicon}


def divided(frames: list[Atoms], cheap: Cheap) -> Data:
    parts = split(frames, initial=1, valid=VALID, test=TEST, seed=0)
    return Data(frames, parts.test, parts.valid, sorted(parts.initial + parts.pool), cheap)


def in_state(atoms: Atoms, charge: int) -> Atoms:
    atoms.info.update({"charge": charge, "spin": 1})
    return atoms


def own_md(cheap: Cheap, out: Path, name: str) -> list[Atoms]:
    """A reference's own MD, labelled by it: each temperature a file, then all in one."""
    whole = out / f"{name}.extxyz"
    if whole.is_file():
        return list(read(whole, ":"))
    frames: list[Atoms] = []
    for index, temperature in enumerate(cheap.temperatures_K):
        part = out / f"{name}-{index}.extxyz"
        if not part.is_file():
            share = cheap.frames // len(cheap.temperatures_K)
            charge = cheap.start.info["charge"]
            job = ReferenceMD(
                cheap.reference,
                charge,
                1,
                "start",
                cheap.start,
                temperature,
                share,
                20,
                0.5,
                0,
                index,
                2,
                out / "scratch",
            )
            write_frames(part, [labelled(atoms, cheap, out) for atoms in reference_md(job)])
        frames += read(part, ":")
    write_frames(whole, frames)
    return frames


def cheap_frames(data: Data, out: Path) -> Path:
    """The file of what members are pretrained on."""
    file = out / "cheap.extxyz"
    if data.cheap.temperatures_K:
        own_md(data.cheap, out, "cheap")
    elif not file.is_file():
        write_frames(file, [labelled(data.frames[k], data.cheap, out) for k in data.pool])
    return file


def labelled(atoms: Atoms, cheap: Cheap, out: Path) -> Atoms:
    """The frame with what a cheap reference says of it."""
    reference = references.load(cheap.reference, atoms.get_chemical_symbols())
    setup = reference.setup(atoms, cheap.start.info.get("charge"), 1, out / "scratch")
    copy = setup.atoms.copy()
    copy.calc = reference.make(setup.keywords, out / "scratch")
    found = atoms.copy()
    found.info["REF_energy"] = copy.get_potential_energy()
    found.arrays["REF_forces"] = copy.get_forces()
    if atoms.pbc.all():
        found.info["REF_stress"] = copy.get_stress()
    return found


def less_cheap(data: Data, out: Path) -> Data:
    """The same frames, their labels less what the cheap reference says of them."""
    file = out / "less-cheap.extxyz"
    if not file.is_file():
        frames = []
        for atoms in data.frames:
            cheap, frame = labelled(atoms, data.cheap, out), atoms.copy()
            for found, ours in ((cheap.info, frame.info), (cheap.arrays, frame.arrays)):
                for key in ("REF_energy", "REF_forces", "REF_stress"):
                    if key in ours:
                        ours[key] = ours[key] - found[key]
            frames.append(frame)
        write_frames(file, frames)
    return replace(data, frames=read(file, ":"))


class Costs:
    """Of the processes that this one starts while the context is open: largest resident memory, and their CPU time."""

    def __enter__(self) -> Costs:
        self.peak_MB, self._over = 0.0, threading.Event()
        self._cpu_s: dict[int, float] = {}
        self._before_s = 0.0
        self._look()
        self._before_s = sum(self._cpu_s.values())
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def cpu_s(self) -> float:
        """Seconds of the processor, to a tenth for each process."""
        return sum(self._cpu_s.values()) - self._before_s

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            self._look()

    def _look(self) -> None:
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                self._cpu_s[process.pid] = times.user + times.system
                self.peak_MB = max(self.peak_MB, process.memory_info().rss / 1e6)


def trained(
    folder: Path,
    train: Path,
    seeds: Sequence[int],
    settings: MACESettings,
    starts: Path | None,
    judged: Path | None,
    replay: Path | None = None,
    whole: bool = True,
) -> float:
    """A committee in folder/models; seconds per member. judged : what energies of isolated atoms are fitted around.

    whole : see TrainingJob; where it is false nothing is known of the labels, and energies are fitted to them alone.
    """
    names = [f"member-{m}" for m in range(len(seeds))]
    energies = None
    if not whole:
        energies = difference_energies(settings, train)
    elif judged is not None:
        energies = refitted_energies(judged, train)
    jobs = [
        TrainingJob(
            m,
            seed,
            train,
            None,
            folder,
            folder / "models" / name,
            None if starts is None else starts / name,
            replay=replay,
            whole=whole,
        )
        for m, (name, seed) in enumerate(zip(names, seeds, strict=True))
    ]
    reports = train_committee(jobs, settings, 1, energies=energies)
    return statistics.mean(report.seconds for report in reports)


class Chain:
    """One seed of one arm."""

    def __init__(
        self,
        out: Path,
        data: Data,
        start: str,
        arm: str,
        seed: int,
        labels: Sequence[int],
        members: int,
        settings: MACESettings,
    ) -> None:
        self.out, self.start, self.arm, self.seed = out, start, arm, seed
        self.data = less_cheap(data, out) if start in OF_DIFFERENCES else data
        self.whole = data
        self.labels, self.members = list(labels), members
        self.settings = settings

    @property
    def place(self) -> Path:
        return self.out / f"{self.start}-{self.arm}-{self.seed}"

    def pretrained(self) -> Path | None:
        """The committee that the first training goes on from."""
        if self.start in ("scratch", "difference"):
            return None
        if self.start in OF_ONE_MODEL or self.start == "both":
            folder = self.out / f"{'both' if self.start == 'both' else 'foundation'}-{self.seed}" / "models"
            if not (folder / "committee.json").is_file():
                bodies = [self.model_of_others() / f"member-{m}" for m in range(self.members)]
                seeds = [700_000 + 1000 * self.seed + m for m in range(self.members)]
                write_fresh_members(bodies if self.start == "both" else bodies[:1], folder, seeds)
            return folder
        return self.model_of_others()

    def model_of_others(self) -> Path:
        """The members that have learned the cheap reference; the first is the toy foundation model too."""
        folder = self.out / f"pretraining-{self.seed}"
        train = cheap_frames(self.whole, self.out)
        settings = replace(self.settings, updates=PRE_UPDATES, solve="no")
        seeds = [500_000 + 1000 * self.seed + m for m in range(self.members)]
        seconds = trained(folder, train, seeds, settings, None, None)
        if not (folder / "done.json").is_file():
            test = [self.whole.frames[k] for k in self.whole.test]
            valid = [self.whole.frames[k] for k in self.whole.valid]
            found = measure(Committee.load(folder / "models"), test, valid, test[:2]).summary
            write_json(folder / "done.json", {"seconds_per_member": seconds, **_short(found)})
        return folder / "models"

    def run(self, until: float) -> bool:
        """Do what is not done; False where time was up before the end."""
        chosen: list[int] = []
        before: Path | None = None
        for number, n in enumerate(self.labels):
            folder = self.place / f"{n:03d}"
            done = folder / "done.json"
            if not done.is_file():
                if time.monotonic() > until:
                    return False
                chosen += self.picks(chosen, n - len(chosen), before, number)
                self.piece(folder, chosen, before, number)
            chosen = read_json(done)["chosen"]
            before = self.home(folder, number) / "models"
        return True

    def home(self, folder: Path, number: int) -> Path:
        """Where the committee lies: the first one is the same for all rules that begin with the same labels."""
        own = number or self.arm.startswith(("spread_", "first_"))
        return folder if own else self.out / f"{self.start}-first-{self.seed}"

    def piece(self, folder: Path, chosen: list[int], before: Path | None, number: int) -> None:
        home = self.home(folder, number)
        train = home / "train.extxyz"
        write_frames(train, [self.data.frames[k] for k in chosen])
        linear = self.start in LINEAR
        asked = {"solve": "instead"} if linear else OF_ONE_MODEL.get(self.start, {})
        settings, starts = replace(self.settings, **asked), before
        if number == 0 or linear:
            starts = self.pretrained()
            settings = settings if starts is None else first_settings(settings, starts, len(chosen))
        seeds = [10_000 * self.seed + 100 * number + m for m in range(self.members)]
        judged = self.out / f"foundation-{self.seed}" / "one"
        if self.start in OF_ONE_MODEL and number == 0 and not judged.is_dir():
            judged.mkdir()
            for file in ("member-0.json", "member-0.safetensors"):
                (judged / file).write_bytes((self.model_of_others() / file).read_bytes())
        judged = judged if self.start in OF_ONE_MODEL else starts
        with Costs() as costs:
            judged = judged if number == 0 or linear else None
            whole = self.start != "both_linear"
            seconds = trained(home, train, seeds, settings, starts, judged, self.replayed(), whole)
        parts = ([self.data.frames[k] for k in part] for part in (self.data.test, self.data.valid, self.data.test[:2]))
        committee = Committee.load(home / "models")
        found = measure(committee, *parts).summary
        stress = stress_error(committee, [self.data.frames[k] for k in self.data.test])
        write_json(
            folder / "done.json",
            {
                "start": self.start,
                "arm": self.arm,
                "seed": self.seed,
                "n": len(chosen),
                "updates": settings.updates_of(len(chosen), warm=starts is not None),
                "seconds_per_member": seconds,
                "cpu_s_per_member": costs.cpu_s / self.members,
                "peak_MB": costs.peak_MB,
                "chosen": chosen,
                **stress,
                **_short(found),
            },
        )
        print(self.place.name, len(chosen), json.dumps(_short(found)), f"{seconds:.0f} s a member", flush=True)

    def replayed(self) -> Path | None:
        """What the toy foundation model says of the cheap reference's frames, for the start that replays it."""
        file = self.out / f"foundation-{self.seed}" / "replay.extxyz"
        if self.start == "replay" and not file.is_file():
            frames = read(cheap_frames(self.whole, self.out), ":")
            write_pseudo_labels(self.model_of_others() / "member-0", frames, file)
        return file if self.start == "replay" else None

    def picks(self, chosen: list[int], k: int, before: Path | None, number: int) -> list[int]:
        pool = [i for i in self.data.pool if i not in set(chosen)]
        rng = np.random.default_rng([self.seed, number, 14])
        name = self.arm.removeprefix("spread_").removeprefix("first_")
        if before is None and self.arm.startswith("first_"):
            before = self.model_of_others()
        elif before is None:
            name = "diversity" if self.arm.startswith("spread_") else "random"
        rule = Gradient(aim="mean") if name == "mean_gradient" else make_rule(name)
        if isinstance(rule, Gradient) and before is not None:
            both = [self.data.frames[i] for i in [*pool, *chosen]]
            rows_of = GradientFeatures(Committee.load(before)).rows(both)
            shown = Candidates([str(i) for i in pool], np.zeros(len(pool)), rows_of[: len(pool)], ["pool"] * len(pool))
            return [pool[pick.index] for pick in rule.select(shown, Labelled(rows_of[len(pool) :]), k, rng)]
        gom = GOM(5.0)
        rows = {i: gom.fingerprints(self.data.frames[i]) for i in [*pool, *chosen]}
        sigma = np.zeros(len(pool))
        if before is not None and name != "random":
            found = Committee.load(before).evaluate([self.data.frames[i] for i in pool])
            sigma = np.array([d.force_std for d in found.disagreements()])
        covariance = Covariance()
        for i in chosen:
            covariance.add(rows[i])
        candidates = Candidates.of_rows([str(i) for i in pool], sigma, [rows[i] for i in pool], ["pool"] * len(pool))
        known = Labelled.of_rows([rows[i] for i in chosen], ["pool"] * len(chosen), covariance, 50)
        return [pool[pick.index] for pick in rule.select(candidates, known, k, rng)]


def stress_error(committee: Committee, frames: Sequence[Atoms]) -> dict[str, float]:
    """RMSE over the components of the mean's stress, where frames have labels of it."""
    known = [atoms for atoms in frames if "REF_stress" in atoms.info]
    if not known:
        return {}
    found = committee.evaluate(known, stress=True).stresses
    assert found is not None
    errors = found.mean(axis=0) - np.array([atoms.info["REF_stress"] for atoms in known])
    return {"stress_GPa": float(np.sqrt(np.mean(errors**2))) / GPa}


def _short(found: dict[str, Any]) -> dict[str, Any]:
    return {
        "rmse_meV_per_A": 1e3 * found["force_rmse"],
        "members_meV_per_A": 1e3 * statistics.mean(found["force_rmse_members"]),
        "p95_meV_per_A": 1e3 * found["force_p95"],
        "energy_meV_per_atom": 1e3 * found["energy_rmse_per_atom"],
        "sigma_meV_per_A": 1e3 * found["force_std"],
        "spearman": found["spearman_structures"],
        "spearman_atoms": found["spearman_atoms"],
        "coverage": found["coverage"],
    }


def labels_to(target: float, curve: dict[int, float]) -> float:
    """Labels at which the curve first crosses the target, log-log between its points; inf: not within them.

    Where the first point lies below the target already, its number is returned: an upper bound.
    """
    points = sorted(curve.items())
    if points and points[0][1] <= target:
        return float(points[0][0])
    for (n, e), (m, f) in itertools.pairwise(points):
        if f <= target:
            share = (math.log(e) - math.log(target)) / (math.log(e) - math.log(f))
            return math.exp(math.log(n) + share * (math.log(m) - math.log(n)))
    return math.inf


def table(out: Path) -> dict[str, Any]:
    """All that has been measured: figures by arm and number of labels, labels to the targets, ratios."""
    found = [read_json(path) for path in sorted(out.glob("*/[0-9]*/done.json"))]
    answer: dict[str, Any] = {"figures": {}, "labels_to": {}, "ratios": {}}
    curves: dict[str, dict[int, dict[int, float]]] = {}
    for row in found:
        curves.setdefault(f"{row['start']} {row['arm']}", {}).setdefault(row["seed"], {})[row["n"]] = row[
            "rmse_meV_per_A"
        ]
    for arm in sorted(curves):
        rows = [row for row in found if f"{row['start']} {row['arm']}" == arm]
        for n in sorted({row["n"] for row in rows}):
            here = [row for row in rows if row["n"] == n]
            mean = {key: statistics.mean(row[key] for row in here) for key in _KEYS}
            each = [round(row["rmse_meV_per_A"], 1) for row in here]
            costs = {key: [round(row[key]) for row in here if key in row] for key in _COSTS}
            answer["figures"][f"{arm} {n}"] = {key: round(value, 3) for key, value in mean.items()} | {
                "each": each,
                **costs,
            }
    for target in TARGETS:
        reached = {arm: [labels_to(target, curve) for curve in seeds.values()] for arm, seeds in curves.items()}
        answer["labels_to"][str(target)] = {
            arm: [round(n, 1) if math.isfinite(n) else None for n in each] for arm, each in reached.items()
        }
    answer["ratios"] = _ratios(curves)
    return answer


_KEYS = ("rmse_meV_per_A", "members_meV_per_A", "p95_meV_per_A", "energy_meV_per_atom", "spearman", "sigma_meV_per_A")


_COSTS = ("seconds_per_member", "cpu_s_per_member", "peak_MB")


def _ratios(curves: dict[str, dict[int, dict[int, float]]]) -> dict[str, Any]:
    """Labels that a start needs for the error of scratch with random labels, over scratch's own."""
    answer: dict[str, Any] = {}
    scratch = curves.get("scratch random", {})
    for arm in sorted(set(curves) - {"scratch random"}):
        start = curves[arm]
        for n in sorted({n for curve in scratch.values() for n in curve}):
            logs = [
                math.log(labels_to(scratch[seed][n], start[seed]) / n)
                for seed in sorted(set(scratch) & set(start))
                if n in scratch[seed] and math.isfinite(labels_to(scratch[seed][n], start[seed]))
            ]
            if logs:
                answer[f"{arm}, scratch's error at {n}"] = _interval(logs)
    return answer


def _interval(logs: Sequence[float]) -> dict[str, Any]:
    """Geometric mean of ratios with Student's 95 % interval over the seeds."""
    mean, found = statistics.mean(logs), {"seeds": len(logs)}
    if len(logs) < 2:
        return {"ratio": round(math.exp(mean), 3), **found}
    half = student.ppf(0.975, len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    return {"ratio": round(math.exp(mean), 3), "from": round(math.exp(mean - half), 3),
            "to": round(math.exp(mean + half), 3), **found}  # fmt: skip


def hold_to(keys: dict[str, Any], out: Path) -> None:
    """Raises InputError where pieces in the folder were trained by other keys of [training] than these."""
    file = out / "training.json"
    if not file.is_file() and not any(out.glob("**/done.json")):
        write_json(file, keys)
    if (read_json(file) if file.is_file() else {}) != keys:
        raise InputError(f"pieces in {out} were trained otherwise: give what {file.name} there says, or another OUT.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--system", default="zundel", choices=SYSTEMS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", default=["random", "two_key"])
    parser.add_argument("--starts", nargs="+", default=["pretrained", "scratch"], choices=STARTS)
    parser.add_argument("--labels", type=int, nargs="+", default=[10, 20, 30, 60, 120])
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--training", nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--table", action="store_true", help="compute nothing")
    given = parser.parse_args()
    until = time.monotonic() + 60 * given.minutes
    given.out.mkdir(parents=True, exist_ok=True)
    chains = [(seed, arm, start) for seed in given.seeds for arm in given.arms for start in given.starts]
    if not given.table:
        try:
            keys = settings_of(given.training, "--training")
            settings = read_as(MACESettings, {"together": 4} | keys, "--training")
            hold_to(keys, given.out)
        except InputError as error:
            parser.error(str(error))
        data = SYSTEMS[given.system](given.out)
        for seed, arm, start in chains:
            if not Chain(given.out, data, start, arm, seed, given.labels, given.members, settings).run(until):
                break
    print(json.dumps(table(given.out)))


if __name__ == "__main__":
    main()
