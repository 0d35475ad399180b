"""A campaign folder written with the project's own functions: EMT labels and real fingerprints, made-up MD."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write

from tentpole.campaign.batches import Method, Request, labels_of, outcome_names, read_batch, read_outcome, write_batch
from tentpole.campaign.dataset import covariance_of
from tentpole.campaign.evaluation import FrameErrors
from tentpole.campaign.exploring import with_exploration
from tentpole.campaign.facts import BatchFacts, RoundEnd, RoundOutcome
from tentpole.campaign.folder import settle
from tentpole.campaign.judging import criteria, history
from tentpole.campaign.paths import VALIDATION, CampaignPaths
from tentpole.campaign.selecting import candidates_of, choose, requests_of
from tentpole.campaign.state import RoundState
from tentpole.campaign.usage import Usage
from tentpole.campaign.verdict import judge
from tentpole.config.loading import resolve
from tentpole.config.schema import CampaignConfig
from tentpole.entropy import make_fingerprint
from tentpole.exploration.explore import Exploration, Mishap
from tentpole.exploration.files import write_exploration
from tentpole.labeling import references
from tentpole.records import Condition, Scores, Snapshot, Walker
from tentpole.selection import make_rule
from tentpole.selection.base import Labelled
from tentpole.storage.atomic import write_json
from tentpole.storage.journal import Journal, read
from tentpole.storage.labels import quarantine, write_label

STEPS, EVERY, MISHAP_AT = 80, 10, 45


class Made:
    """Writes a campaign round by round. `failing`: how many structures of each batch the reference refuses."""

    def __init__(self, home: Path, *, validation: bool = True, failing: int = 1) -> None:
        home.mkdir(parents=True, exist_ok=True)
        write(home / "cu.xyz", bulk("Cu", cubic=True), format="extxyz")
        content: dict[str, Any] = {
            "name": "copper",
            "reference": "emt",
            "structures": [{"file": "cu.xyz"}],
            "stop": {"labels": 40, "rounds": 3},
            "explore": {"temperatures_K": [300, 900], "steps": STEPS, "bias": {"ratios": [0.0]}},
            "selection": {"rule": "uncertainty", "batch": 5, "audit": 0.2},
        }
        if validation:
            content["validation"] = {"kind": "reference-md", "frames": 4}
        self.config: CampaignConfig
        self.paths = CampaignPaths(home / "folder")
        self.config, self.root = settle(resolve(content, home / "campaign.toml"), self.paths), self.paths.root
        self.validation, self.failing = validation, failing
        self.method = Method(references.load("emt", ["Cu"]).hash)
        self.rng = np.random.default_rng(7)
        self.journal = Journal(self.paths.journal)
        self.journal.append("opened", version=1)
        self.rounds = 0

    def initial(self) -> Made:
        requests = [self._request(f"r000-{i:04d}", "initial: a rattled starting structure") for i in range(6)]
        write_batch(self.paths, 0, requests, BatchFacts())
        self._label(requests, failing=0)
        self._close(0)
        if self.validation:
            held = [self._request(f"validation-{i:04d}", "validation: judges every committee") for i in range(4)]
            write_batch(self.paths, VALIDATION, held, BatchFacts())
            self._label(held, failing=0)
            self._close(VALIDATION)
        self._finish(0)
        return self

    def explore(self) -> list[Request]:
        """The next round up to its batch, whose labels are then still to come."""
        number = self.rounds
        fingerprint = make_fingerprint(self.config.fingerprint.build())
        rows = [fingerprint.fingerprints(label.atoms) for label in self._labels(number - 1)]
        covariance = covariance_of(self.config, rows)
        shards = []
        for i, temperature in enumerate(self.config.explore.temperatures_K):
            condition = Condition("cu", temperature)
            shard = self._walk(f"w{i:02d}", condition, number, fingerprint, covariance)
            write_exploration(self.paths.shard(number, f"w{i:02d}"), shard)
            shards.append(shard)
        chosen, facts = choose(
            candidates_of(shards, fingerprint),
            make_rule("uncertainty"),
            Labelled(np.zeros((0, 50)), (), covariance),
            self.config.selection.batch,
            self.config.selection.audit,
            self.rng,
        )
        requests = requests_of(chosen, self.method)
        write_batch(self.paths, number, requests, with_exploration(facts, shards, {"w00"}))
        for phase in ("md", "scoring"):
            self.journal.append("phase", phase=phase, round=number, seconds=3.0)
        return requests

    def round(self) -> Made:
        number, requests = self.rounds, self.explore()
        accepted = self._label(requests, self.failing)
        errors = self._errors([q.name for q in accepted], 0.3 / number)
        self._close(number, errors)
        self._finish(number)
        return self

    def verdict(self) -> Made:
        found = judge(
            history(RoundState(self.paths, self.method, self.validation)),
            Usage(read(self.paths.journal)).hours,
            criteria(self.config),
        )
        assert found is not None
        write_json(self.paths.verdict, {**found.to_json(), "criteria": {}})
        return self

    def _walk(self, id: str, condition: Condition, number: int, fingerprint: Any, covariance: Any) -> Exploration:
        snapshots, scores = [], []
        for step in range((number - 1) * STEPS + EVERY, number * STEPS + 1, EVERY):
            atoms = self._rattled(0.01 + condition.temperature_K / 10_000)
            sigma = float(self.rng.uniform(0.1, 0.4)) / number
            gain = covariance.gain(fingerprint.fingerprints(atoms))
            name = f"r{number:03d}-{id}-{step:06d}"
            snapshots.append(Snapshot(name, atoms, condition, id, number, step))
            scores.append(Scores(sigma / 10, sigma / 40, sigma, 2 * sigma, gain))
        scores[-1] = Scores(np.nan, np.nan, np.nan, np.nan, np.nan, failed="the members' forces are not finite")
        walker = Walker(id, condition, self._rattled(0.01), number * STEPS, self.rng.bit_generator.state)
        mishap = Mishap((number - 1) * STEPS + MISHAP_AT, "close contact", "Cu0-Cu1 at 0.90 Å")
        return Exploration(number, walker, STEPS, tuple(snapshots), tuple(scores), (mishap,), 2.0, 1.0)

    def _finish(self, number: int) -> None:
        end = RoundEnd()
        if self.validation:
            names = read_outcome(self.paths, VALIDATION).accepted
            end = RoundEnd(self._errors(names, 0.2 / (number + 1)).facts())
        write_json(self.paths.end(number), end.to_json())
        self.journal.append("phase", phase="labelling", seconds=1.0)
        self.journal.append("phase", phase="training", round=number, seconds=20.0)
        self.journal.append("round done", round=number)
        self.rounds = number + 1

    def _close(self, name: int | str, errors: FrameErrors | None = None) -> None:
        accepted, failed = outcome_names(self.paths, read_batch(self.paths, name, self.method))
        outcome = RoundOutcome(accepted, failed, None if errors is None else errors.facts())
        write_json(self.paths.outcome(name), outcome.to_json())

    def _errors(self, names: Sequence[str], size: float) -> FrameErrors:
        truth = self.rng.normal(scale=2.0, size=(12 * len(names), 1))
        predicted = truth + self.rng.normal(scale=size, size=truth.shape)
        mse = ((predicted - truth) ** 2).reshape(len(names), 12).mean(axis=1)
        flat = np.ones(len(names))
        return FrameErrors(
            names=tuple(names),
            force_mse=mse,
            energy_error=0.01 * flat,
            force_std=size * flat,
            max_force_std=2 * size * flat,
            max_force_error=3 * size * flat,
            atoms=4 * flat,
            elements={"Cu": size},
            parity=np.hstack([truth, predicted]),
        )

    def _labels(self, last: int) -> list[Any]:
        outcomes = [read_outcome(self.paths, number) for number in range(last + 1)]
        return [label for outcome in outcomes for label in labels_of(self.paths, outcome)]

    def _label(self, requests: list[Request], failing: int) -> list[Request]:
        for request in requests[len(requests) - failing :]:
            quarantine(self.root, request.name, "not converged", "SCF did not converge in 200 steps", request.atoms)
        accepted = requests[: len(requests) - failing]
        for request in accepted:
            atoms = request.atoms.copy()
            atoms.calc = EMT()
            write_label(self.root, request.label(atoms.get_potential_energy(), atoms.get_forces()))
        return accepted

    def _request(self, id: str, reason: str) -> Request:
        return Request(id, self._rattled(0.05), self.method.reference, None, None, reason=reason)

    def _rattled(self, stdev: float) -> Atoms:
        atoms = bulk("Cu", cubic=True)
        atoms.positions += self.rng.normal(scale=stdev, size=atoms.positions.shape)
        return atoms
