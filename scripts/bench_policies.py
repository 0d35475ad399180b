"""Whole campaigns against each other: labels and time to equal force error on frames that none of them made.

    python scripts/bench_policies.py OUT [--systems zundel water8 silicon alloy silicon_smooth] [--seeds 0 1 2]
        [--policies tentpole …] [--minutes 14] [--smoke] [--table] [--of two_key_solved]

Teachers: GFN2-xTB of the Zundel cation and of a water cluster of eight molecules, CHGNet of eight silicon atoms less
one, Stillinger and Weber's potential of the same, EMT of eight atoms of Cu₃Au less a copper atom. Every policy is a
campaign of the engine: the same first labels, labels per round, MD steps, candidates, members and updates. What
differs:

    tentpole         the default: two_key, audit frames in every batch, half of the MD under an entropy bias
    …_by_gradient    the same with the rule that init proposes for molecules: what lowers what one trained member cannot
                     know the most
    …_unbiased       the same, all of its MD plain
    random           MD of the committee, frames at random
    two_key          the default's rule on that MD, no audit frames
    gradient         what one trained member can know least of (see tentpole.selection.Gradient)
    mean_gradient    what lowers what it cannot know of all candidates the most
    band             DP-GEN: at random among those whose largest σ of a force lies in a band, 0.1 to 0.4 eV/Å for
                     molecules (the middle half of what a first committee says of its MD), 0.05 to 0.2 for silicon
    moving_mean      aims-PAX: at random among those whose largest σ exceeds the mean of those before
    filter           arXiv:2605.20384: all MD under an entropy bias, at random among frames whose log-det gain passes
    …_pretrained     the same, all members pretrained on a cheap reference (GFN1-xTB for GFN2, Stillinger and Weber's
                     potential for CHGNet, Lennard-Jones for it and for EMT), first labels out of its MD
    …_baseline       that, and the cheap reference is the baseline too: members learn the difference
    one_shot         the pretrained committee as it is makes all the MD; N labels at random, and one training of as
                     many updates as a campaign has spent by then
    …_solved         what labels teach is solved for: after the updates, in place of them where members are pretrained

Where fewer frames pass a rule than a batch wants, the rest are drawn at random, so that labels are equal. Hidden
frames: MD of the teacher at three temperatures, and the middle one's strained (crystal) or stretched (molecules). A
campaign is judged after every round, by the mean of its committee.

Every piece (hidden frames, a pretraining, a campaign) is a folder in OUT and resumable; the same command goes on where
it was stopped, and --minutes ends it between two pieces. The last line is JSON: errors by labels, and for the best of
Tentpole's policies over the others the ratios of labels and of wall time at equal error, geometric means over seeds
with Student's 95 % intervals, with --of those of the policies named; core-seconds of whole campaigns stand beside.
Equal error is the larger one of what both end with, so that both reach it; where the first labels reach it already,
their number is what counts, an upper bound.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from ase import Atoms
from ase.build import bulk
from ase.io import read, write
from ase.optimize import BFGS
from scipy.stats import t as student

from tentpole import Campaign, CampaignRecord, Committee, selection
from tentpole.benchmarks.sampling.driving import Trajectory, candidates_in, md_seconds, walk
from tentpole.benchmarks.sampling.rules import PEERS
from tentpole.committee.baseline import baseline_beside
from tentpole.exploration import ExploreSettings, Langevin, WalkerSeed
from tentpole.exploration.initial import ReferenceMD, reference_md, strained
from tentpole.exploration.random_numbers import NEWEST
from tentpole.labeling import references
from tentpole.records import Condition
from tentpole.storage.atomic import read_json, write_json
from tentpole.storage.structures import write_frames

STILLINGER_WEBER = Path(__file__).resolve().parent / "studies" / "stillinger_weber.toml"
ZUNDEL = Path(__file__).resolve().parents[1] / "examples" / "01_zundel" / "zundel.xyz"
STRETCH = 0.06
OURS = (
    "tentpole",
    "tentpole_by_gradient",
    "tentpole_unbiased",
    "tentpole_by_gradient_unbiased",
    "tentpole_pretrained",
    "tentpole_baseline",
    "tentpole_solved",
    "tentpole_by_gradient_solved",
    "tentpole_by_gradient_baseline_solved",
)
RULES = {"mean_gradient": ("gradient", {"aim": "mean"}), "filter": ("entropy_filter", {})}
"""Of policies whose name is not a rule's: the rule and its settings."""
ON_PLAIN_MD = ("random", "two_key", "gradient", "mean_gradient", "band", "moving_mean")
FILTER_BIAS = 0.2
"""As in the studies of ways of making frames."""
STARTED = ("random_pretrained", "random_baseline", "one_shot")
SOLVED = (
    "random_solved",
    "random_baseline_solved",
    "one_shot_solved",
    "two_key_solved",
    "mean_gradient_solved",
    "mean_gradient_baseline_solved",
    "filter_solved",
)
POLICIES = (*OURS, *ON_PLAIN_MD, "filter", *STARTED, *SOLVED)


@dataclass(frozen=True)
class System:
    """A teacher, a structure and the conditions of its MD."""

    teacher: str
    state: Mapping[str, int]
    explored_K: tuple[float, float]
    hidden_K: tuple[float, float, float]
    timestep_fs: float
    cheap: str
    band: tuple[float, float]
    training: Mapping[str, Any]
    explore: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Size:
    """How much of everything a campaign has."""

    first: int = 20
    batch: int = 20
    rounds: int = 3
    steps: int = 800
    every: int = 10
    members: int = 4
    cold: int = 1600
    warm: int = 600
    hidden: int = 40
    cheap_frames: int = 300
    one_shots: tuple[int, ...] = (0, 1, 3)

    def labels(self, number: int) -> int:
        """After so many rounds."""
        return self.first + number * self.batch

    def updates(self, number: int) -> int:
        """A member's, until then."""
        return self.cold + number * self.warm


SMOKE = Size(4, 3, 2, 20, 2, 2, 20, 10, 4, 12, (0, 2))
SYSTEMS = {
    "zundel": System(
        "xtb", {"charge": 1, "multiplicity": 1}, (300.0, 900.0), (300.0, 600.0, 900.0), 0.5, "xtb-gfn1", (0.1, 0.4),
        {"r_max": 5.0}, {"health": {"max_gap_A": 2.5}},
    ),
    "water8": System(
        "xtb", {"charge": 0, "multiplicity": 1}, (150.0, 350.0), (150.0, 250.0, 350.0), 0.5, "xtb-gfn1", (0.1, 0.4),
        {"r_max": 5.0, "max_L": 0}, {"health": {"max_gap_A": 3.5}},
    ),
    "silicon": System(
        "chgnet", {}, (300.0, 1200.0), (300.0, 800.0, 1200.0), 2.0, str(STILLINGER_WEBER), (0.05, 0.2),
        {"r_max": 4.5, "max_L": 0},
    ),
    "alloy": System(
        "emt", {}, (300.0, 1200.0), (300.0, 800.0, 1200.0), 2.0, "lj", (0.05, 0.2), {"r_max": 4.5, "max_L": 0},
    ),
}  # fmt: skip
SYSTEMS["silicon_smooth"] = replace(SYSTEMS["silicon"], teacher=str(STILLINGER_WEBER), cheap="lj")


def water_octamer() -> Atoms:
    """Eight molecules on the corners of a cube, each with one hydrogen along its edges: to be relaxed."""
    edge, bond, atoms = 2.8, 0.97, Atoms()
    corners = [np.array(corner) for corner in itertools.product((0, 1), repeat=3)]
    for corner in corners:
        inward = np.where(corner == 0, 1.0, -1.0)
        # around the two squares hydrogens run in a ring; every second molecule holds on to the other square
        x, y, z = corner
        ring = np.array([inward[0], 0, 0]) if (x + y) % 2 == 0 else np.array([0, inward[1], 0])
        other = np.array([0, 0, inward[2]]) if (x + y + z) % 2 == 0 else -np.array([0, 0, inward[2]])
        place = edge * corner
        atoms += Atoms("OH2", [place, place + bond * ring, place + bond * other])
    return atoms


class Bench:
    """One system under one seed, in a folder of its own."""

    def __init__(self, out: Path, name: str, seed: int, size: Size) -> None:
        self.root, self.system, self.seed, self.size = out / name, SYSTEMS[name], seed, size
        self.root.mkdir(parents=True, exist_ok=True)

    @property
    def start_file(self) -> Path:
        """Where it is."""
        return (self.root / "start.xyz").resolve()

    @cached_property
    def start(self) -> Atoms:
        """The structure, relaxed by the teacher where it is made here."""
        file = self.start_file
        if not file.is_file():
            if self.root.name == "zundel":
                atoms = read(ZUNDEL)
            elif self.root.name.startswith("silicon"):
                atoms = bulk("Si", cubic=True)
                del atoms[0]
            elif self.root.name == "alloy":
                atoms = bulk("Cu", cubic=True, a=3.75) * (2, 1, 1)
                atoms.symbols[[0, 4]] = "Au"
                del atoms[1]
            else:
                atoms = water_octamer()
                atoms.calc = self._calculator(atoms)
                BFGS(atoms, logfile=None).run(fmax=0.05, steps=300)
            write(file, Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc), format="extxyz")
        return read(file)

    def _calculator(self, atoms: Atoms) -> Any:
        state, scratch = self.system.state, self.root / "scratch"
        reference = references.load(self.system.teacher, atoms.get_chemical_symbols())
        setup = reference.setup(atoms, state.get("charge"), state.get("multiplicity"), scratch)
        return reference.make(setup.keywords, scratch)

    def hidden(self) -> list[Atoms]:
        """Frames that no policy made, with energies and forces of the teacher and the set that each belongs to."""
        file = self.root / "hidden.extxyz"
        if not file.is_file():
            calculator, found, rng = self._calculator(self.start), list[Atoms](), np.random.default_rng(7)
            for index, kelvin in enumerate(self.system.hidden_K):
                state = self.system.state
                job = ReferenceMD(
                    self.system.teacher, state.get("charge"), state.get("multiplicity"), "start", self.start, kelvin,
                    self.size.hidden, 20, self.system.timestep_fs, 10**6, index, NEWEST, self.root / "scratch",
                )  # fmt: skip
                frames = reference_md(job)
                found += [self._labelled(atoms, f"{kelvin:g} K", calculator) for atoms in frames]
                if index == 1:
                    bent = [self._stretched(atoms, rng) for atoms in frames]
            found += [self._labelled(atoms, "stretched", calculator) for atoms in bent]
            write_frames(file, found)
        return list(read(file, ":"))

    def _stretched(self, atoms: Atoms, rng: np.random.Generator) -> Atoms:
        if atoms.pbc.any():
            return strained(atoms, STRETCH, rng)
        drawn = rng.uniform(-STRETCH, STRETCH, (3, 3))
        middle, bent = atoms.positions.mean(axis=0), atoms.copy()
        bent.positions = middle + (atoms.positions - middle) @ (np.eye(3) + (drawn + drawn.T) / 2)
        return bent

    def _labelled(self, atoms: Atoms, name: str, calculator: Any) -> Atoms:
        copy, frame = atoms.copy(), atoms.copy()
        copy.calc = calculator
        frame.info = {"set": name, "REF_energy": float(copy.get_potential_energy())}
        frame.arrays["REF_forces"] = copy.get_forces()
        return frame

    def content(self, **tables: Any) -> dict[str, Any]:
        """A campaign file."""
        size, system = self.size, self.system
        return {
            "name": self.root.name,
            "seed": self.seed,
            "reference": system.teacher,
            **system.state,
            "structures": [{"file": str(self.start_file), "name": "start"}],
            "stop": {"rounds": size.rounds},
            "target": {"force_error_eV_per_A": 1e-4, "stalled_rounds": 100},  # nothing ends a campaign but its rounds
            "committee": {"members": size.members},
            "executor": {"workers": 1},
            **tables,
            "explore": {
                "temperatures_K": list(system.explored_K),
                "snapshot_every": size.every,
                "ensemble": {"timestep_fs": system.timestep_fs},
                **system.explore,
                **tables.get("explore", {}),
            },
            "training": {"kind": "mace", "finishing": False, **system.training, **tables.get("training", {})},
        }

    def pretraining(self) -> Path:
        """The campaign that pretrains: members in models/pretraining, and the frames of its first labels."""
        folder = self.root / f"pretraining-{self.seed}"
        content = self.content(
            stop={"rounds": 0},
            initial={"kind": "pretraining", "count": self.size.first},
            pretraining=self._cheap_md(),
            training={"updates": 1},
        )
        if (folder / "first.xyz").is_file():
            return folder
        record = self._campaign(folder, content)
        frames = [request.atoms for request in record.rounds[0].batch.requests]
        write(folder / "first.xyz", frames, format="extxyz")
        return folder

    def _cheap_md(self) -> dict[str, Any]:
        """What a campaign pretrains on."""
        return {
            "kind": "reference",
            "reference": self.system.cheap,
            "frames": self.size.cheap_frames,
            "every": 10,
            "timestep_fs": self.system.timestep_fs,
            "updates": self.size.cold,
        }

    def _campaign(self, folder: Path, content: dict[str, Any]) -> CampaignRecord:
        folder.mkdir(exist_ok=True)
        (folder / "campaign.toml").write_text(tomli_w.dumps(content))
        with Campaign(folder / "campaign.toml", folder / "run") as campaign:
            campaign.run()
        return CampaignRecord.read(folder / "run")

    def policy(self, name: str) -> list[dict[str, Any]]:
        """Points of a policy's curve: labels, errors, what it had spent."""
        file = self.root / f"{name}-{self.seed}" / "points.json"
        if not file.is_file():
            self.hidden()
            file.parent.mkdir(exist_ok=True)
            work = self._one_shots if name.startswith("one_shot") else self._rounds
            write_json(file, work(name, file.parent))
        return read_json(file)["points"]

    def _rounds(self, name: str, folder: Path) -> dict[str, Any]:
        solved, name = name.endswith("_solved"), name.removesuffix("_solved")
        biased, name = not name.endswith("_unbiased"), name.removesuffix("_unbiased")
        by_gradient, name = "_by_gradient" in name, name.replace("_by_gradient", "")
        rule = name.removesuffix("_pretrained").removesuffix("_baseline")
        size, before = self.size, 0.0
        tables: dict[str, Any] = {"initial": {"kind": "rattle", "count": size.first}}
        if rule != name:
            start = self.pretraining()
            tables = {"initial": _frames(start / "first.xyz"), "pretraining": _members(start)}
            before = _spent(start)
        if name.endswith("_baseline"):  # its campaign pretrains itself, on the same frames
            tables |= {"pretraining": self._cheap_md(), "baseline": {"reference": self.system.cheap}}
            before = 0.0
        if rule == "tentpole":  # with bias two walkers at each temperature, one of them biased
            kind, settings = RULES["mean_gradient"] if by_gradient else ("two_key", {})
            explore = {"steps": size.steps // 2} if biased else {"steps": size.steps, "bias": {"ratios": [0.0]}}
            tables |= {"selection": {"batch": size.batch, "rule": kind, "settings": settings}, "explore": explore}
        else:
            band = {"low": self.system.band[0], "high": self.system.band[1]}
            kind, settings = RULES.get(rule, (rule, band if rule == "band" else {}))
            chosen = {"rule": kind, "batch": size.batch, "audit": 0.0, "settings": settings}
            if kind in PEERS:
                chosen["sigma"] = "max"
            ratio = FILTER_BIAS if rule == "filter" else 0.0
            tables |= {"selection": chosen, "explore": {"steps": size.steps, "bias": {"ratios": [ratio]}}}
        tables["training"] = {"max_updates": size.cold, "updates_warm": size.warm}
        if solved:
            tables["training"]["solve"] = "after" if rule == name else "instead"
        record = self._campaign(folder, self.content(**tables))
        labels, points = 0, []
        for one in record.rounds:
            labels += one.labels
            models = record.paths.models(int(one.name))
            points.append(self._point(labels, before + record.usage.round_ends[int(one.name)][0], models))
        return {"points": points, "sent_back": _sent_back(record), "verdict": str(record.verdict)}

    def _one_shots(self, name: str, folder: Path) -> dict[str, Any]:
        """The pretrained committee makes all the MD of a campaign; frames at random, smaller sets in larger."""
        start, size, points = self.pretraining(), self.size, list[dict[str, Any]]()
        job = ExploreSettings(
            size.rounds * size.steps, size.every, ensemble=Langevin(timestep_fs=self.system.timestep_fs)
        )
        files = []
        for place, kelvin in enumerate(self.system.explored_K):
            files.append(folder / f"md-{place}.h5")
            seed, condition = WalkerSeed(self.seed, 1, place), Condition("start", kelvin)
            state = (self.system.state.get("charge"), self.system.state.get("multiplicity"))
            walk(Trajectory(files[-1], f"w{place}", seed, condition, self.start, _models(start), state, job))
        frames = [shot.atoms for shot in candidates_in(files)]
        order = np.random.default_rng([self.seed, 5]).permutation(len(frames))
        spent = _spent(start)
        for number in size.one_shots:
            labels = size.labels(number)
            here = folder / f"{labels:04d}"
            here.mkdir(exist_ok=True)
            write(here / "frames.xyz", [frames[k] for k in order[:labels]], format="extxyz")
            content = self.content(
                stop={"rounds": 0},
                initial=_frames(here / "frames.xyz"),
                pretraining=_members(start),
                training={"solve": "instead"} if name.endswith("_solved") else {"updates": size.updates(number)},
            )
            record = self._campaign(here, content)
            hours = spent + md_seconds(files) / 3600 + record.usage.round_ends[0][0]
            points.append(self._point(record.rounds[0].labels, hours, record.paths.models(0)))
        return {"points": points}

    def _point(self, labels: int, hours: float, models: Path) -> dict[str, Any]:
        """Labels, the time for all so far, and the errors of the committee's mean in meV/Å and meV/atom."""
        hidden = self.hidden()
        found = Committee.load(models, dtype="float32", baseline=baseline_beside(models)).evaluate(hidden)
        squares: dict[str, list[float]] = {}
        energies: dict[str, list[float]] = {}
        for k, atoms in enumerate(hidden):
            force = float(((found.forces[k].mean(axis=0) - atoms.arrays["REF_forces"]) ** 2).mean())
            energy = float(found.energies[:, k].mean() - atoms.info["REF_energy"]) / len(atoms)
            for name in (atoms.info["set"], "md" if atoms.info["set"] != "stretched" else "", "all"):
                squares.setdefault(name, []).append(force)
                energies.setdefault(name, []).append(energy**2)
        return {
            "labels": labels,
            "hours": hours,
            "force": {name: 1e3 * math.sqrt(statistics.fmean(values)) for name, values in squares.items() if name},
            "energy": {name: 1e3 * math.sqrt(statistics.fmean(values)) for name, values in energies.items() if name},
        }


def _frames(file: Path) -> dict[str, Any]:
    return {"kind": "frames", "file": str(file.resolve())}


def _models(start: Path) -> Path:
    return CampaignRecord.read(start / "run").paths.pretrained


def _members(start: Path) -> dict[str, Any]:
    return {"kind": "committee", "folder": str(_models(start).resolve())}


def _spent(start: Path) -> float:
    """Hours of a pretraining, with the labels of its first frames."""
    return CampaignRecord.read(start / "run").usage.round_ends[0][0]


def _core_seconds(folder: Path) -> float:
    """Core-seconds of the campaigns below a folder."""
    runs = [file.parent for file in folder.rglob("journal.jsonl")]
    return sum(sum(CampaignRecord.read(run).usage.core_seconds.values()) for run in runs)


def _sent_back(record: CampaignRecord) -> list[int]:
    """Resets of walkers in each round."""
    return [sum(one.facts.mishaps.values()) for one in record.rounds]


def needed(points: Sequence[Mapping[str, Any]], what: str, measure: str, error: float) -> float:
    """Labels or hours at which the force error first falls to `error`, log-log between two points.

    inf: not within them. Where the first point lies there already, its own: an upper bound.
    """
    rows = [(float(point[what]), float(point["force"][measure])) for point in points]
    if rows[0][1] <= error:
        return rows[0][0]
    for (a, e), (b, f) in itertools.pairwise(rows):
        if f <= error:
            share = math.log(e / error) / math.log(e / f)
            return math.exp(math.log(a) + share * math.log(b / a))
    return math.inf


Curves = Mapping[str, Mapping[int, Sequence[Mapping[str, Any]]]]
"""Points by policy and seed."""


def compared(curves: Curves, measure: str, of: Sequence[str] = OURS) -> dict[str, Any]:
    """The best of Tentpole's policies, or of those named, against each other one, and the best of these."""
    ends = {
        name: statistics.geometric_mean(points[-1]["force"][measure] for points in seeds.values())
        for name, seeds in curves.items()
    }
    ours = [name for name in ends if name in of]
    others = sorted((name for name in ends if name not in of), key=lambda name: ends[name])
    if not ours or not others:
        return {}
    best = min(ours, key=lambda name: ends[name])
    rows = {other: _ratios(curves[best], curves[other], measure) for other in others}
    return {"best": best, "best_other": others[0], "ratios": rows}


def _ratios(one: Mapping[int, Any], other: Mapping[int, Any], measure: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for what in ("labels", "hours"):
        logs = []
        for seed in sorted(set(one) & set(other)):
            error = max(points[-1]["force"][measure] for points in (one[seed], other[seed]))
            logs.append(math.log(needed(one[seed], what, measure, error) / needed(other[seed], what, measure, error)))
        found[what] = interval(logs)
    return found


def interval(logs: Sequence[float]) -> dict[str, Any]:
    """Geometric mean of ratios with Student's 95 % interval over the seeds."""
    if not logs:
        return {"seeds": 0}
    mean, found = statistics.mean(logs), {"seeds": len(logs)}
    if len(logs) < 2:
        return {"ratio": round(math.exp(mean), 3), **found}
    half = student.ppf(0.975, len(logs) - 1) * statistics.stdev(logs) / math.sqrt(len(logs))
    low, high = (round(math.exp(mean + sign * half), 3) for sign in (-1, 1))
    return {"ratio": round(math.exp(mean), 3), "from": low, "to": high, **found}


def table(out: Path, of: Sequence[str] = OURS) -> dict[str, Any]:
    """All that has been measured, by system."""
    answer: dict[str, Any] = {}
    for name in SYSTEMS:
        curves: dict[str, dict[int, Any]] = {}
        for file in sorted((out / name).glob("*/points.json")):
            policy, _, seed = file.parent.name.rpartition("-")
            curves.setdefault(policy, {})[int(seed)] = read_json(file)["points"]
        if not curves:
            continue
        errors = {
            policy: {
                measure: [
                    [points[k]["labels"], round(points[k]["force"][measure], 1)]
                    for points in seeds.values()
                    for k in range(len(points))
                ]
                for measure in ("md", "stretched")
            }
            for policy, seeds in curves.items()
        }
        seconds = {
            policy: round(statistics.fmean(_core_seconds(out / name / f"{policy}-{seed}") for seed in seeds))
            for policy, seeds in curves.items()
        }
        answer[name] = {
            "core_s": seconds,
            "force_RMSE_meV_per_A": errors,
            **{measure: compared(curves, measure, of) for measure in ("md", "stretched", "all")},
        }
    return answer


def main() -> None:
    """Do what is missing, and print what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=SYSTEMS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--policies", nargs="+", default=list(POLICIES), choices=POLICIES)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--smoke", action="store_true", help="a minute in all: whether it runs")
    parser.add_argument("--table", action="store_true", help="compute nothing")
    parser.add_argument("--of", nargs="+", default=OURS, choices=POLICIES, help="whose ratios over the others are told")
    given = parser.parse_args()
    selection.KINDS.update(PEERS)  # a campaign knows its own rules alone
    until = time.monotonic() + 60 * given.minutes
    size = SMOKE if given.smoke else Size()
    pieces = list(itertools.product(given.seeds, given.systems, given.policies))
    for seed, system, name in pieces if not given.table else ():
        began = time.monotonic()
        if began > until:
            break
        points = Bench(given.out, system, seed, size).policy(name)
        curve = ", ".join(f"{p['labels']}: {p['force']['md']:.1f} | {p['force']['stretched']:.1f}" for p in points)
        print(f"{system} {name} {seed}: {curve} ({time.monotonic() - began:.0f} s)", flush=True)
    print(json.dumps(table(given.out, given.of)))


if __name__ == "__main__":
    main()
