#!/usr/bin/env python
"""Whether verdicts keep their word: of the campaigns found CONVERGED, how many meet the claim, and at what price.

Two kinds of campaigns. `simulated` ones have a power law for the true error of the committee, noise of each training,
and audit frames whose squared errors are log-normal with a part that a walker's frames share; the engine's own rules
decide when to look and when to end. `real` ones are run whole by the engine: four copper atoms, labels by EMT, two tiny
members; the final committee, and that of every round, is judged on hidden frames of its own unbiased MD. Real ones are
resumable: a campaign that was begun goes on, one that has its result is not run again.

    python scripts/bench_verdict.py [--simulated 1000] [--real 4] [--rule two_key] [--solve no]
        [--out runs/bench_verdict] [--frames 500]

--rule says by which rule real campaigns choose; "mean_gradient" is gradient with aim = "mean" and no quotas.
--solve is the key of [training], whether members are solved for after their updates.
Each rule and solve wants a folder of its own, and campaigns of the same number differ in nothing else.

The last line is JSON: for each kind how many campaigns, the share that ended CONVERGED, the share of these that meet
the claim, and the median overspend of labels against the first round at which the claim was true. Beside it stand, for
the real ones, the criteria of version 0.1.0 (Student's t on audit frames, all new labels) and of DP-GEN (98 % of the
frames explored with a largest σ below the target), and the share of hidden frames within what their σ promised; and
the overspend of a look made at the best moment and of the best size by someone who knows the true errors, expected at
the usual spread of errors: what rules that have to find them out may be held against.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.units import fs

from tentpole import Campaign, CampaignRecord, Committee
from tentpole.campaign.audit_tests import USUAL_SPREAD, final_look_size, passes
from tentpole.campaign.confidence import ALPHA, Look, expected_factor, spend
from tentpole.campaign.judging import criteria, history
from tentpole.campaign.verdict import Audits, Criteria, Round, judge
from tentpole.committee import CommitteeCalculator
from tentpole.committee.committee_files import is_whole
from tentpole.committee.disagreement import force_std
from tentpole.exploration.files import read_exploration
from tentpole.exploration.lockstep import Lockstep
from tentpole.records import Condition
from tentpole.training.network_voter import members_in

TARGET = 0.05
BATCH, AUDITS = 20, 6
RULES: dict[str, dict[str, Any]] = {
    "two_key": {"rule": "two_key"},
    "mean_gradient": {"rule": "gradient", "settings": {"aim": "mean", "quota": "none"}},
}
TRAJECTORIES = 25
"""At most so many for the hidden frames of a condition, with six of them at least on each: errors along one stay alike
for 80 fs, and its first frame comes after 100 fs. Side by side, many short ones take fewer steps than few long ones."""


def simulated(seed: int, conditions: int, exponent: float, most_labels: int = 600) -> dict[str, object]:
    """One campaign with true errors of a law: RMSE ∝ labels^(-exponent), 10 % noise of each training."""
    rng = np.random.default_rng([seed, conditions, round(100 * exponent)])
    names = tuple(f"c{c}" for c in range(conditions))
    levels = np.exp(0.2 * rng.standard_normal(conditions))  # RMSE of each condition over that of all
    levels /= math.sqrt(float((levels**2).mean()))
    spreads = dict(zip(names, rng.uniform(0.4, 0.9, conditions), strict=True))
    shared, start = 0.2, TARGET * rng.uniform(2.0, 6.0)
    limits = Criteria(
        TARGET, 2, 20, 0.05, 5, most_labels, None, None, evidence="audits", conditions=names, batch=BATCH, frames=200
    )
    walkers = {c: [f"{c}/{w}" for w in range(2)] for c in names}

    def audits(rmse: float, count: int) -> Audits:
        own = {w: rng.standard_normal() for c in names for w in walkers[c]}
        rows = []
        for k in range(count):
            c = names[k % conditions]
            w = walkers[c][k // conditions % 2]
            y = spreads[c] * (math.sqrt(1 - shared) * rng.standard_normal() + math.sqrt(shared) * own[w])
            rows.append(((rmse * levels[k % conditions]) ** 2 * math.exp(y - spreads[c] ** 2 / 2), c, w))
        look = Look(np.array([x for x, _, _ in rows]), tuple(c for _, c, _ in rows), tuple(w for _, _, w in rows))
        return Audits(look, np.zeros(count), np.full(count, math.nan))

    rounds = [Round(20, 0, np.zeros(0), [], {}, math.nan, 0, 0, 0, asked=20)]
    trained, first, verdict = 20, None, None
    true = start * math.exp(0.1 * rng.standard_normal())
    while verdict is None:
        met = true * float(max(1.0, *levels)) <= TARGET
        if met and first is None:
            first = trained
        empty = Round(BATCH, BATCH - AUDITS, np.zeros(0), [], {}, math.nan, 40, 0, 0, asked=BATCH, candidates=100)
        if (size := final_look_size(rounds, limits)) is not None:
            number = 1 + sum(r.final_look > 0 for r in rounds)
            one = replace(empty, labels=size, asked=size, picked=0, audits=audits(true, size), final_look=number)
            one = replace(one, passed=passes(one, rounds, limits))
        else:
            one = replace(empty, audits=audits(true, AUDITS))
        rounds.append(one)
        verdict = judge(rounds, 0.0, limits)
        if not one.passed:
            trained = sum(r.labels for r in rounds)
            true = start * (trained / 20) ** -exponent * math.exp(0.1 * rng.standard_normal())
    labels = sum(r.labels for r in rounds)
    return {"kind": verdict.kind, "met": met, "labels": labels, "first": first}


def real(
    folder: Path, seed: int, target: float, temperatures: list[float], frames: int, more: dict[str, dict[str, Any]]
) -> dict[str, object]:
    """One campaign by the engine, and its committees judged on hidden frames of their own MD."""
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "copper.xyz", bulk("Cu", cubic=True), format="extxyz")
    content = {
        "name": "copper",
        "seed": seed,
        "reference": "emt",
        "structures": [{"file": "copper.xyz"}],
        "stop": {"labels": 300, "rounds": 25},
        "target": {"force_error_eV_per_A": target},
        "initial": {"kind": "rattle", "count": 8, "stdev_A": [0.05, 0.1]},
        "explore": {"temperatures_K": temperatures, "steps": 120, "snapshot_every": 5},
        "committee": {"members": 2},
        "training": {"kind": "mace", "channels": 4, "max_L": 0, "r_max": 4.0, "updates": 300, "batch_size": 5}
        | more["training"],
        "selection": {**more["selection"], "batch": 12},
        "executor": {"workers": 1},
    }
    (folder / "campaign.toml").write_text(tomli_w.dumps(content))
    with Campaign(folder / "campaign.toml", folder / "run") as campaign:
        verdict = campaign.run()
    record = CampaignRecord.read(folder / "run")
    labels = np.cumsum([r.labels for r in record.rounds]).tolist()
    judged, errors, covered = dict[Path, list[float]](), list[list[float]](), dict[str, list[int]]()
    committees = [record.state.newest_models(number) for number in range(len(record.rounds))]
    for number, models in enumerate(committees):
        spoken_of = limited(record, number)
        for one in dict.fromkeys((models, spoken_of)):
            count = frames if one == committees[-1] else max(40, frames // 8)
            if one in judged and one != spoken_of:
                continue
            judged[one], sigma, error, names = hidden_errors(one, temperatures, count, seed)
            end = record.rounds[number].end
            if one == spoken_of and end is not None and end.limit is not None and end.limit.limit.scale:
                within = end.limit.limit.covers(sigma, error, names)
                covered[one.name] = [sum(within), len(within)]
        errors.append(judged[models])
    stops = {
        "tentpole": len(errors) - 1 if verdict.kind == "CONVERGED" else None,
        "labels": stop_by_labels(record),
        "DP-GEN": stop_by_accurate_share(record),
    }
    met = [max(found) <= target for found in errors]
    first = next((n for n, good in zip(labels, met, strict=True) if good), None)
    return {
        "kind": verdict.kind,
        "met": met[-1],
        "labels": labels[-1],
        "first": first,
        "target": target,
        "temperatures_K": temperatures,
        "errors_eV_per_A": errors,
        "within": [sum(counts[k] for counts in covered.values()) for k in (0, 1)],
        "within_by_committee": covered,
        "others": {name: {"met": met[at], "labels": labels[at]} for name, at in stops.items() if at is not None},
    }


def limited(record: CampaignRecord, number: int) -> Path:
    """The committee whose σ the limit of a round speaks of: not what it became by training for a final look after."""
    models = record.paths.models(number)
    return models if is_whole(models) else record.state.newest_models(number)


def stop_by_labels(record: CampaignRecord) -> int | None:
    """The round after which version 0.1.0 says CONVERGED: errors on all new labels, Student's t on audit frames."""
    limits = replace(criteria(record.config), evidence="labels", max_labels=None, max_rounds=None)
    rounds = history(record.state)
    found = (judge(rounds[: k + 1], 0.0, limits) for k in range(len(rounds)))
    return next((k for k, verdict in enumerate(found) if verdict and verdict.kind == "CONVERGED"), None)


def stop_by_accurate_share(record: CampaignRecord) -> int | None:
    """The round whose committee DP-GEN's criterion takes: 98 % of the frames explored have max force σ below it.

    The trust level is the target, as if σ were an error.
    """
    target = record.config.target.force_error_eV_per_A
    for number in range(1, len(record.rounds)):
        shards = [read_exploration(path) for path in record.paths.shards(number)]
        sigma = [scores.max_force_std for shard in shards for scores in shard.scores]
        if sigma and np.mean([s < target for s in sigma]) >= 0.98:
            return number - 1
    return None


def least_labels(record: CampaignRecord, found: dict[str, Any]) -> int | None:
    """The fewest labels with which a first look could be expected to pass, by true errors; None: with none."""
    labels = np.cumsum([r.labels for r in record.rounds]).tolist()
    alpha, fewest = spend(ALPHA, 1), criteria(record.config).final_audits
    ends = []
    for n, (over_all, *each) in zip(labels, found["errors_eV_per_A"], strict=True):
        for frames in range(fewest, 200, len(each)):
            bounds = [over_all * expected_factor(USUAL_SPREAD, frames, alpha, len(each))]
            bounds += [error * expected_factor(USUAL_SPREAD, frames // len(each), alpha) for error in each]
            if max(bounds) <= found["target"]:
                ends.append(n + frames)
                break
    return min(ends, default=None)


def hidden_errors(
    models: Path, temperatures: list[float], frames: int, seed: int
) -> tuple[list[float], list[float], list[float], list[str]]:
    """Force RMSE in eV/Å of the committee's mean, over all conditions and under each, on MD by its first member.

    Over `TRAJECTORIES` trajectories. Then σ_F and force RMSE in eV/Å and the condition of each frame.
    """
    lockstep = Lockstep()
    committee = Committee([lockstep.shared(v) for v in members_in(models, "float32", "own").voters])
    squares, sigma, error, names = list[float](), list[float](), list[float](), list[str]()
    each = frames // len(temperatures)
    for k, temperature in enumerate(temperatures):
        counts = [len(part) for part in np.array_split(range(each), min(TRAJECTORIES, -(-each // 6)))]
        seen = lockstep.run(
            [partial(trajectory, committee, temperature, n, [10**6, seed, k, w]) for w, n in enumerate(counts) if n]
        )
        own = list[float]()
        for one in itertools.chain.from_iterable(seen):
            found = committee.evaluate([one]).forces[0]
            one.calc = EMT()
            own.append(float(np.mean((found.mean(axis=0) - one.get_forces()) ** 2)))
            sigma.append(float(force_std(found)))
        squares.append(float(np.mean(own)))
        error += np.sqrt(own).tolist()
        names += [str(Condition("copper", temperature))] * len(own)
    return [math.sqrt(np.mean(squares)), *(math.sqrt(x) for x in squares)], sigma, error, names


def trajectory(committee: Committee, temperature: float, frames: int, key: list[int]) -> list[Atoms]:
    """So many frames of one trajectory, 20 fs apart, the first after 100 fs.

    It starts on the lattice with twice the kinetic energy, half of which goes into displacements.
    """
    rng = np.random.default_rng(key)
    atoms = bulk("Cu", cubic=True)
    MaxwellBoltzmannDistribution(atoms, temperature_K=2 * temperature, rng=rng)
    atoms.calc = CommitteeCalculator(committee)
    md = Langevin(atoms, 1.0 * fs, temperature_K=temperature, friction=0.01 / fs, rng=rng)
    md.run(80)
    seen = []
    for _ in range(frames):
        md.run(20)
        seen.append(atoms.copy())
    return seen


def summary(results: list[dict[str, object]]) -> dict[str, object]:
    """What the last line says of one kind of campaigns."""
    converged = [r for r in results if r["kind"] == "CONVERGED"]
    spent = [r["labels"] / r["first"] - 1 for r in converged if r["first"]]
    reachable = [r for r in results if r["first"]]
    return {
        "campaigns": len(results),
        "verdicts": dict(Counter(str(r["kind"]) for r in results)),
        "converged": len(converged) / len(results) if results else None,
        "converged_of_reached": len([r for r in reachable if r in converged]) / len(reachable) if reachable else None,
        "claim_met_of_converged": sum(bool(r["met"]) for r in converged) / len(converged) if converged else None,
        "median_overspend": float(np.median(spent)) if spent else None,
    }


def overspends(results: list[dict[str, Any]]) -> dict[str, dict[str, object]]:
    """Labels over those at which the claim was first true, by how many these were: spent, and with errors known."""
    ended = [r for r in results if r["kind"] == "CONVERGED" and r["first"] and r["least"]]
    told = dict[str, dict[str, object]]()
    for least, most in ((0, 40), (40, 80), (80, 120), (120, 10**6)):
        here = [r for r in ended if least <= r["first"] < most]
        if here:
            told[f"true from {least} to {most} labels"] = {
                "campaigns": len(here),
                "spent": float(np.median([r["labels"] / r["first"] - 1 for r in here])),
                "errors known": float(np.median([r["least"] / r["first"] - 1 for r in here])),
                "labels more": float(np.median([r["labels"] - r["least"] for r in here])),
            }
    ends = [r["least"] / r["first"] - 1 for r in ended]
    return {**told, "all": {"campaigns": len(ends), "errors known": float(np.median(ends)) if ends else None}}


def compared(results: list[dict[str, object]]) -> dict[str, object]:
    """The same campaigns ended by each criterion; and how often an error was within what its σ promised."""
    told: dict[str, object] = {}
    for name in ("tentpole", "labels", "DP-GEN"):
        ends = [(r["others"][name], r["first"]) for r in results if name in r["others"]]
        spent = [end["labels"] / first - 1 for end, first in ends if first]
        told[name] = {
            "ended": len(ends) / len(results),
            "claim_met": sum(end["met"] for end, _ in ends) / len(ends) if ends else None,
            "median_overspend": float(np.median(spent)) if spent else None,
        }
    within, frames = (sum(r["within"][k] for r in results) for k in (0, 1))
    return {**told, "coverage": within / frames if frames else None, "covered_frames": frames}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulated", type=int, default=1000)
    parser.add_argument("--real", type=int, default=4)
    parser.add_argument("--rule", choices=list(RULES), default="two_key")
    parser.add_argument("--solve", choices=("no", "after"), default="no")
    parser.add_argument("--out", type=Path, default=Path("runs/bench_verdict"))
    parser.add_argument("--frames", type=int, default=500)
    options = parser.parse_args()
    more: dict[str, dict[str, Any]] = {"selection": RULES[options.rule], "training": {"solve": options.solve}}
    found: dict[str, object] = {}
    for conditions in (1, 2, 4) if options.simulated else ():
        for exponent in (0.3, 0.6, 1.0):
            results = [simulated(seed, conditions, exponent) for seed in range(options.simulated // 9)]
            name = f"simulated, {conditions} conditions, labels^-{exponent}"
            found[name] = summary(results)
            print(name, json.dumps(found[name]), flush=True)
    done = []
    for k in range(options.real):
        folder = options.out / f"c{k:03d}"
        path = folder / "result.json"
        if not path.exists():
            target, temperatures = (0.004, 0.008, 0.016)[k % 3], ([600.0], [300.0, 600.0])[k // 3 % 2]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(real(folder, k, target, temperatures, options.frames, more)))
        found_there = json.loads(path.read_text())
        done.append({**found_there, "least": least_labels(CampaignRecord.read(folder / "run"), found_there)})
        print(folder.name, path.read_text(), file=sys.stderr, flush=True)
    if done:
        found["real"] = {**summary(done), "overspend": overspends(done), "criteria": compared(done)}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
