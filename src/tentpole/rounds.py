"""The steps of a round, each done once: decide a batch, close it, train, validate, judge.

`step` does the next one that is not done; what is done is known from the files alone. Random numbers come
from generators seeded by (campaign seed, purpose, round), so that no step depends on what ran before it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tentpole import batches, phases
from tentpole.batches import Request
from tentpole.choosing import candidates_of, choose, requests_of
from tentpole.config import CampaignConfig
from tentpole.context import Context
from tentpole.errors import InputError, StateError
from tentpole.evaluation import FrameErrors, frame_errors
from tentpole.exploration import shard_path
from tentpole.history import VALIDATION, done_path, history, rounds_done, validation_error
from tentpole.journal import read
from tentpole.selection.base import Labelled
from tentpole.shards import read_exploration
from tentpole.state import Label
from tentpole.store import label_path, read_json, write_json
from tentpole.thresholds import calibration_facts, chooser, coverage
from tentpole.times import hours_used
from tentpole.verdict import Criteria, Verdict, judge

if TYPE_CHECKING:
    from tentpole.labeling import Outcome

_SELECTION = 3  # purpose of random numbers; phases.py has the others


class Rounds:
    """A campaign's rounds in their folder."""

    def __init__(self, work: Context) -> None:
        self.work, self.root, self.config = work, work.root, work.config

    @property
    def current(self) -> int:
        """The first round that is not done."""
        return rounds_done(self.root)

    def waiting(self) -> list[Request]:
        """The structures of the current round that have no outcome yet, and those of earlier rounds whose labels
        are gone; [] also where none are decided."""
        return [q for name in self._open() for q in batches.pending(self.root, self.requests(name))]

    def requests(self, name: int | str) -> list[Request]:
        """The batch of a round, or the validation set's."""
        return batches.read_batch(
            self.root, name, self.work.reference.hash, self.config.charge, self.config.multiplicity
        )

    def step(self) -> Verdict | None:
        """Do the next thing that is not done. Returns the verdict where this ended the campaign."""
        round = self.current
        for name in self._names(round):
            if not batches.batch_path(self.root, name).exists():
                self._decide(name)
                return None
        for name in self._names(round):
            if not batches.is_closed(self.root, name):
                self._close(name)
                return None
        if self._labels(round) and not phases.is_trained(self.root, round):
            self._train(round)
            return None
        self._finish(round)
        return self.judge()

    def asked(self) -> dict[str, Request]:
        """All that the current round asks for, answered or not, by name."""
        return {request.name: request for name in self._open() for request in self.requests(name)}

    def mend(self) -> bool:
        """Make anew, with the same result, what is missing of the rounds that are done; True where something was.

        Files that were found damaged are deleted to that end.
        """
        for round in range(self.current):
            walkers = phases.walker_conditions(self.work) if round else []
            if not all(shard_path(self.root, round, id).exists() for id, _, _ in walkers):
                _, covariance = phases.dataset_covariance(self.config, self._labels(round - 1))
                phases.explore(self.work, round, covariance)
                return True
            if not phases.is_trained(self.root, round):
                self._train(round)
                return True
        return False

    def check_answer(self, answer: Label | batches.Failure, asked: dict[str, Request]) -> None:
        """Raises InputError for an answer nobody asked for, of another reference, or of the wrong shape."""
        if isinstance(answer, Label) and answer.reference != self.work.reference.hash:
            raise InputError(
                f"a label of reference {answer.reference}, where this campaign's is {self.work.reference.hash} "
                f'("{self.config.reference}"): make answers with request.label(energy, forces)'
            )
        if answer.name not in asked:
            raise InputError(f"{answer.name}: nobody asked for this label in round {self.current}")
        if not isinstance(answer, Label):
            return
        forces, wanted = np.asarray(answer.forces), asked[answer.name].atoms.positions.shape
        if forces.shape != wanted:
            raise InputError(f"{answer.name}: forces have shape {forces.shape}, the structure wants {wanted}")
        if not (math.isfinite(answer.energy) and np.isfinite(forces).all()):
            raise InputError(
                f"{answer.name}: energy or forces are not finite: answer with request.failed(reason) instead"
            )

    def label(self, requests: list[Request]) -> Iterator[Outcome]:
        """Have the campaign's own workers label these; each outcome as it comes."""
        from tentpole.labeling import Task, label_all

        limits = self.config.executor
        tasks = [
            Task(
                self.root.resolve(),  # a worker elsewhere has another current folder
                self.work.reference,
                q.atoms,
                q.charge,
                q.multiplicity,
                limits.label_time_limit_s,
                limits.label_memory_limit_GB,
            )
            for q in requests
        ]
        return label_all(tasks, self.work.workers.labels, attempts=limits.attempts)

    def _open(self) -> list[int | str]:
        """The batches that may lack a label: what is decided of this round, and of others where a file is gone."""
        current = self.current
        decided = [name for name in self._names(current) if batches.batch_path(self.root, name).exists()]
        before = [name for round in range(current) for name in self._names(round)]
        return [name for name in before if batches.lost(self.root, name)] + decided

    def _names(self, round: int) -> list[int | str]:
        wanted = round == 0 and self.config.validation.kind != "none"
        return [0, VALIDATION] if wanted else [round]

    def _labels(self, last: int) -> list[Label]:
        """The dataset after round `last`, in the order it grew."""
        return [label for round in range(last + 1) for label in batches.labels_of(self.root, round)]

    def _decide(self, name: int | str) -> None:
        facts: dict[str, Any] = {}
        if name == 0:
            requests = phases.initial_requests(self.work)
        elif name == VALIDATION:
            requests = phases.validation_requests(self.work)
        else:
            requests, facts = self._choose(int(name))
        batches.write_batch(self.root, name, requests, facts)
        strength = facts.get("bias_strength_eV", {})
        self.work.journal.append("batch", round=name, asked=len(requests), bias_strength_eV=strength)

    def _choose(self, round: int) -> tuple[list[Request], dict[str, Any]]:
        """Explore with the committee in force, then let the rule choose; and what the round's report needs."""
        self.work.watch.progress(f"round {round}: fingerprints", 0, 1)  # compiles once per machine: seconds
        labels = self._labels(round - 1)
        fingerprint, covariance = phases.dataset_covariance(self.config, labels)
        phases.explore(self.work, round, covariance)
        walkers = {id: ratio for id, _, ratio in phases.walker_conditions(self.work)}
        shards = [read_exploration(shard_path(self.root, round, id)) for id in walkers]
        features = np.array([fingerprint.fingerprints(label.atoms).mean(axis=0) for label in labels])
        k = self.config.selection.batch
        if self.config.stop.labels is not None:
            k = min(k, self.config.stop.labels - len(labels))
        candidates = candidates_of(shards, fingerprint)
        chosen_by, first_key = chooser(self.config, self._calibration(round - 1))
        chosen, facts = choose(
            candidates,
            chosen_by,
            Labelled(features, self._conditions(round - 1), covariance),
            k,
            self.config.selection.audit,
            np.random.default_rng([self.config.seed, _SELECTION, round]),
        )
        reference = self.work.reference.hash
        requests = requests_of(chosen, reference, self.config.charge, self.config.multiplicity)
        facts |= phases.exploration_facts(shards, walkers) | {"first_key": first_key}
        self.work.watch.note(
            f"round {round}: {facts['candidates']} candidates, {len(requests)} worth a label, "
            f"{facts['unhealthy']} mishaps" + (f"; {first_key}" if first_key else "")
        )
        return requests, facts

    def _conditions(self, last: int) -> list[str]:
        """The condition of each label up to round `last`; "initial" for those from before any exploration."""
        found = []
        for round in range(last + 1):
            of = {q.name: str(q.condition or "initial") for q in self.requests(round)}
            found += [of[name] for name in batches.read_closed(self.root, round)["accepted"]]
        return found

    def _close(self, name: int | str) -> None:
        requests = self.requests(name)
        facts: dict[str, Any] = {}
        if isinstance(name, int) and name > 0:
            names = dict.fromkeys(q.name for q in requests)
            known = [n for n in names if label_path(self.root, *n.split("-")).exists()]
            errors = self._errors(phases.newest_models(self.root, name - 1), known)
            facts = errors.to_json() | {"coverage": coverage(self._calibration(name - 1), errors)}
        batches.close(self.root, name, requests, facts)
        closed = batches.read_closed(self.root, name)
        self.work.journal.append(
            "closed round", round=name, accepted=len(closed["accepted"]), failed=len(closed["failed"])
        )
        if name == 0 and len(closed["accepted"]) < 2:
            raise StateError(
                f"{self.root}: {len(closed['accepted'])} of {len(requests)} initial labels were accepted, and a "
                f"committee needs at least 2. Why they failed: {self.root / 'quarantine'}. Mend the reference, "
                "then start again in another folder."
            )

    def _errors(self, models: Path, names: list[str]) -> FrameErrors:
        began = time.monotonic()
        paths = [label_path(self.root, *name.split("-")) for name in names]
        errors = self.work.workers.run(frame_errors, models, self.config.committee.dtype, paths, root=self.root)
        self.work.note_phase("scoring", time.monotonic() - began)
        return errors

    def _train(self, round: int) -> None:
        began = time.monotonic()
        phases.train(self.work, round, self._labels(round))
        self.work.note_phase("training", time.monotonic() - began, round)

    def _finish(self, round: int) -> None:
        facts: dict[str, Any] = {"version": 1}
        if batches.batch_path(self.root, VALIDATION).exists():
            names = batches.read_closed(self.root, VALIDATION)["accepted"]
            errors = self._errors(phases.newest_models(self.root, round), names)
            facts["validation"] = errors.to_json()
            facts["calibration"] = calibration_facts(
                errors, self.config.target.force_error_eV_per_A, self.config.target.miss_rate
            )
            before = validation_error(self.root, round - 1) if round else math.nan
            self.work.journal.append(
                "validation", round=round, force_rmse_eV_per_A=errors.force_rmse, before=_none(before)
            )
            self.work.watch.note(
                f"round {round}: {len(self._labels(round))} labels, force RMSE on {len(names)} held-out frames "
                f"{1000 * errors.force_rmse:.1f} meV/Å"
                + (f" (before: {1000 * before:.1f})" if math.isfinite(before) else "")
            )
            if errors.alike:
                self.work.watch.note(f"round {round}: {errors.likeness}")
        write_json(done_path(self.root, round), facts)
        self.work.journal.append("round done", round=round)

    def _calibration(self, round: int) -> dict[str, Any]:
        """How the committee made after `round` is calibrated; {} where there is no validation set."""
        return dict(read_json(done_path(self.root, round)).get("calibration", {}))

    def judge(self) -> Verdict | None:
        """The verdict on the rounds that are done, or None: go on."""
        hours = hours_used(read(self.root / "journal.jsonl"))
        return judge(history(self.root, self.config), hours, criteria(self.config))


def criteria(config: CampaignConfig) -> Criteria:
    """The verdict's settings, from the campaign file."""
    target, stop = config.target, config.stop
    return Criteria(
        force_error_eV_per_A=target.force_error_eV_per_A,
        rounds=target.rounds,
        labels_needed=target.labels_needed,
        outliers=target.outliers,
        stalled_rounds=target.stalled_rounds,
        max_labels=stop.labels,
        max_rounds=stop.rounds,
        max_hours=stop.hours,
    )


def _none(value: float) -> float | None:
    return value if math.isfinite(value) else None
