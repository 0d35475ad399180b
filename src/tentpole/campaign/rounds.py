"""The steps of a round, each done once: decide a batch, close it, train, validate, judge.

`step` does the next one that is not done; what is done is known from the files alone. Random numbers come
from generators seeded by (campaign seed, purpose, round), so that no step depends on what ran before it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tentpole.campaign import batches
from tentpole.campaign.batches import Request
from tentpole.campaign.calibration import calibration_facts, chooser, coverage
from tentpole.campaign.context import Context
from tentpole.campaign.dataset import covariance_of, fingerprint_rows
from tentpole.campaign.evaluation import FrameErrors, frame_errors
from tentpole.campaign.exploring import (
    await_walkers,
    exploration_facts,
    rescored,
    set_going,
    walker_conditions,
    walker_jobs,
)
from tentpole.campaign.history import VALIDATION, done_path, history, rounds_done, validation_error
from tentpole.campaign.ledger import Ledger
from tentpole.campaign.resets import sent_back
from tentpole.campaign.seeding import initial_requests, validation_requests
from tentpole.campaign.selecting import (
    QUEUE,
    Chosen,
    by_rule,
    candidates_of,
    choose,
    choose_again,
    describe,
    draw_audit,
    requests_of,
)
from tentpole.campaign.training import is_trained, newest_models, train
from tentpole.campaign.verdict import Criteria, Verdict, evidence, judge, time_limit
from tentpole.config.schema import CampaignConfig
from tentpole.errors import InputError, StateError
from tentpole.execution.metering import measured
from tentpole.exploration.files import read_exploration
from tentpole.exploration.jobs import WalkerJob, shard_path
from tentpole.exploration.random_numbers import generator
from tentpole.records import Candidate, FloatArray, Label
from tentpole.selection.base import Labelled
from tentpole.storage.atomic import read_json, write_json
from tentpole.storage.labels import label_path

if TYPE_CHECKING:
    from tentpole.entropy import Covariance, Fingerprint
    from tentpole.labeling import Outcome


class Rounds:
    """A campaign's rounds in their folder."""

    def __init__(self, work: Context) -> None:
        self.work, self.root, self.config = work, work.root, work.config
        self.ledger = Ledger(work.root, work.journal)
        self._ahead: tuple[list[WalkerJob], list[Future[Path]]] | None = None

    @property
    def current(self) -> int:
        """The first round that is not done."""
        return rounds_done(self.root)

    def waiting(self) -> list[Request]:
        """The structures of the current round that have no outcome yet, and those of earlier rounds whose labels
        are gone; [] also where none are decided."""
        return [q for name in self._open() for q in batches.pending(self.root, self.requests(name))]

    def gone(self) -> list[Request]:
        """The structures of the rounds that are done whose labels are gone."""
        return [q for name in self._lost() for q in batches.pending(self.root, self.requests(name))]

    def requests(self, name: int | str) -> list[Request]:
        """The batch of a round, or the validation set's."""
        return batches.read_batch(
            self.root, name, self.work.reference.hash, self.config.charge, self.config.multiplicity
        )

    def step(self) -> Verdict | None:
        """Do the next thing that is not done. Returns the verdict where this ended the campaign: at the end of a
        round, or where a limit of time has passed before something that takes long."""
        round = self.current
        for name in self._names(round):
            if not batches.batch_path(self.root, name).exists():
                if over := self.out_of_time():
                    return over
                self._decide(name)
                return None
        for name in self._names(round):
            if not batches.is_closed(self.root, name):
                self._close(name)
                return None
        if self._labels(round) and not is_trained(self.root, round):
            if over := self.out_of_time():
                return over
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
            walkers = walker_conditions(self.work) if round else []
            if not all(shard_path(self.root, round, id).exists() for id, _, _ in walkers):
                _, rows = self._fingerprints(self._known_to(round), self._known_to(round))
                self._explore(round, covariance_of(self.config, rows))
                return True
            if not is_trained(self.root, round):
                self._train(round)
                return True
        return False

    def explore_ahead(self) -> None:
        """Set the walkers of the next round going while labels of this one are waited for, where [explore] ahead.

        They run with what was known before those labels, so that it makes no difference to any result whether
        they run now or later. Nothing happens where that round may never come, or where files are missing.
        """
        round = self.current + 1
        if not self.config.explore.ahead or self._ahead is not None or round < 2 or not self._is_coming(round):
            return
        _, rows = self._fingerprints(self._known_to(round), self._known_to(round))
        jobs = self._jobs(round, covariance_of(self.config, rows))
        self._ahead = (jobs, set_going(self.work, jobs))

    def abandon(self) -> None:
        """Stop walkers that run ahead: there is a verdict. Their checkpoints stay."""
        for future in self._ahead[1] if self._ahead else ():
            future.cancel()
        self._ahead = None

    def _is_coming(self, round: int) -> bool:
        now, stop = round - 1, self.config.stop
        if not batches.batch_path(self.root, now).exists() or batches.is_closed(self.root, now) or self._lost():
            return False
        if stop.rounds is not None and now >= stop.rounds:
            return False
        before = sum(len(batches.read_closed(self.root, q)["accepted"]) for q in range(now))
        if stop.labels is not None and before + len(self.requests(now)) >= stop.labels:
            return False
        walkers = [id for id, _, _ in walker_conditions(self.work)]
        shards = [shard_path(self.root, q, id) for q in range(1, now + 1) for id in walkers]
        return all(path.exists() for path in shards) and all(is_trained(self.root, q) for q in range(now))

    def _known_to(self, round: int) -> int:
        """The last round whose labels the walkers of `round` know of."""
        return max(0, round - self._lag)

    @property
    def _lag(self) -> int:
        return 2 if self.config.explore.ahead else 1

    def _jobs(self, round: int, covariance: Covariance) -> list[WalkerJob]:
        known = self._known_to(round)
        sent = sent_back(self.root, self._asked_in, known, self._lag)
        return walker_jobs(self.work, round, newest_models(self.root, known), covariance, sent)

    def _asked_in(self, round: int) -> list[Request]:
        return self.requests(round)

    def _explore(self, round: int, covariance: Covariance) -> None:
        """Have the walkers' round run to its end, or await it where it runs ahead."""
        if self._ahead is not None and self._ahead[0][0].round == round:
            jobs, pending = self._ahead
            self._ahead = None
        else:
            jobs = self._jobs(round, covariance)
            pending = set_going(self.work, jobs)
        await_walkers(self.work, jobs, pending)

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
        """Have the campaign's own workers label these; each outcome as it comes, until a limit of time passes."""
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
                limits.persistent,
            )
            for q in requests
        ]

        def enough() -> bool:
            return self.out_of_time() is not None

        return label_all(
            tasks,
            self.work.workers.labels,
            attempts=limits.attempts,
            submitted=self.explore_ahead,  # labels come first where both share the workers
            enough=enough,
        )

    def _open(self) -> list[int | str]:
        """The batches that may lack a label: what is decided of this round, and of others where a file is gone."""
        decided = [name for name in self._names(self.current) if batches.batch_path(self.root, name).exists()]
        return self._lost() + decided

    def _lost(self) -> list[int | str]:
        before = [name for round in range(self.current) for name in self._names(round)]
        return [name for name in before if batches.lost(self.root, name)]

    def _names(self, round: int) -> list[int | str]:
        wanted = round == 0 and self.config.validation.kind != "none"
        return [0, VALIDATION] if wanted else [round]

    def _labels(self, last: int) -> list[Label]:
        """The dataset after round `last`, in the order it grew."""
        return [label for round in range(last + 1) for label in batches.labels_of(self.root, round)]

    def _decide(self, name: int | str) -> None:
        facts: dict[str, Any] = {}
        if name == 0:
            requests = initial_requests(self.work)
        elif name == VALIDATION:
            requests = validation_requests(self.work)
        else:
            requests, facts = self._choose(int(name))
        batches.write_batch(self.root, name, requests, facts)
        strength = facts.get("bias_strength_eV", {})
        self.work.journal.append("batch", round=name, asked=len(requests), bias_strength_eV=strength)

    def _choose(self, round: int) -> tuple[list[Request], dict[str, Any]]:
        """Explore with the committee in force, then let the rule choose; and what the round's report needs."""
        self.work.watch.progress(f"round {round}: fingerprints", 0, 1)  # compiles once per machine: seconds
        labels = self._labels(round - 1)
        known = self._known_to(round)
        fingerprint, rows = self._fingerprints(round - 1, known)
        before = self._labelled(rows[: len(self._labels(known))], known)
        assert before.covariance is not None
        self._explore(round, before.covariance)
        walkers = {id: ratio for id, _, ratio in walker_conditions(self.work)}
        shards = [read_exploration(shard_path(self.root, round, id)) for id in walkers]
        k = self.config.selection.batch
        if self.config.stop.labels is not None:
            k = min(k, self.config.stop.labels - len(labels))
        candidates = candidates_of(shards, fingerprint)
        chosen_by, first_key = chooser(self.config, self._calibration(known))
        rng = generator(self.config.seed, "selection", round, scheme=self.config.random_numbers)
        if known == round - 1:
            audit, sigma = self.config.selection.audit, self.config.selection.sigma
            chosen, facts = choose(candidates, chosen_by, before, k, audit, rng, sigma=sigma)
        else:
            audited, rest = draw_audit(candidates, k, self.config.selection.audit, rng)
            wanted = QUEUE * self.config.selection.batch - len(audited)
            sigma = self.config.selection.sigma
            queued = [c for c, _, _ in by_rule(rest, chosen_by, before, wanted, rng, sigma=sigma)]
            now = self._labelled(rows, round - 1)
            chosen, facts, first_key = self._choose_again(round, audited, queued, now, k, rng)
            facts |= describe(candidates, {c.snapshot.id for c, _, _ in chosen})
        reference = self.work.reference.hash
        requests = requests_of(chosen, reference, self.config.charge, self.config.multiplicity)
        facts |= exploration_facts(shards, walkers) | {"first_key": first_key}
        dropped = f", {len(facts['dropped'])} dropped from the queue" if facts.get("dropped") else ""
        self.work.watch.note(
            f"round {round}: {facts['candidates']} candidates, {len(requests)} worth a label{dropped}, "
            f"{facts['unhealthy']} mishaps" + (f"; {first_key}" if first_key else "")
        )
        return requests, facts

    def _choose_again(
        self,
        round: int,
        audited: list[Candidate],
        queued: list[Candidate],
        labelled: Labelled,
        k: int,
        rng: np.random.Generator,
    ) -> tuple[list[Chosen], dict[str, Any], str]:
        """Score a queue with what the labels of the round before have taught, and drop what they made superfluous."""
        assert labelled.covariance is not None
        old = [*audited, *queued]
        models = newest_models(self.root, round - 1)
        now = rescored(self.work, models, labelled.covariance, old)
        pairs = list(zip(old, now, strict=True))
        chosen_by, first_key = chooser(self.config, self._calibration(round - 1))
        here = len(audited)
        chosen, dropped = choose_again(
            pairs[:here], pairs[here:], chosen_by, labelled, k, rng, sigma=self.config.selection.sigma
        )
        for frame in dropped:
            self.work.journal.append("dropped", round=round, **frame)
        return chosen, {"queued": len(queued), "dropped": dropped}, first_key

    def _fingerprints(self, last: int, known: int) -> tuple[Fingerprint, list[FloatArray]]:
        """The fingerprint, by the committee made after round `known`, and its rows of the labels up to round `last`."""
        models = newest_models(self.root, known)
        return fingerprint_rows(self.config, self._labels(last), self.work.starts.values(), models)

    def _labelled(self, rows: list[FloatArray], last: int) -> Labelled:
        """The dataset after round `last` as rules see it, from the fingerprint rows of its labels."""
        features = np.array([block.mean(axis=0) for block in rows])
        return Labelled(features, self._conditions(last), covariance_of(self.config, rows))

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
            errors = self._errors(newest_models(self.root, name - 1), known)
            facts = errors.to_json() | {"coverage": coverage(self._calibration(name - 1), errors)}
        batches.close(self.root, name, requests, facts)
        closed = batches.read_closed(self.root, name)
        self.work.journal.append(
            "closed round", round=name, accepted=len(closed["accepted"]), failed=len(closed["failed"])
        )
        if isinstance(name, int) and name > 0:
            self._tell_sent_back(name)
        if name == 0 and len(closed["accepted"]) < 2:
            raise StateError(
                f"{self.root}: {len(closed['accepted'])} of {len(requests)} initial labels were accepted, and a "
                f"committee needs at least 2. Why they failed: {self.root / 'quarantine'}. Mend the reference, "
                "then start again in another folder."
            )

    def _tell_sent_back(self, round: int) -> None:
        for sent in sent_back(self.root, self._asked_in, round, self._lag):
            if sent.after == round:
                self.work.journal.append("walker sent back", walker=sent.walker, round=sent.round, reason=sent.message)
                self.work.watch.note(
                    f"round {round}: walker {sent.walker} goes back to before step {sent.before} with new velocities, "
                    f"from round {sent.round} on: {sent.message}"
                )

    def _errors(self, models: Path, names: list[str]) -> FrameErrors:
        began = time.monotonic()
        paths = [label_path(self.root, *name.split("-")) for name in names]
        job = (self.root, "scoring", frame_errors, models, self.config.committee.dtype, paths)
        errors: FrameErrors = self.work.workers.run(measured, *job, root=self.root)
        self.work.note_phase("scoring", time.monotonic() - began)
        return errors

    def _train(self, round: int) -> None:
        began = time.monotonic()
        train(self.work, round, self._labels(round))
        self.work.note_phase("training", time.monotonic() - began, round)

    def _finish(self, round: int) -> None:
        facts: dict[str, Any] = {"version": 1}
        if batches.batch_path(self.root, VALIDATION).exists():
            names = batches.read_closed(self.root, VALIDATION)["accepted"]
            errors = self._errors(newest_models(self.root, round), names)
            facts["validation"] = errors.to_json()
            facts["calibration"] = calibration_facts(
                errors,
                self.config.target.force_error_eV_per_A,
                self.config.target.miss_rate,
                self.config.selection.sigma,
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
        ledger = self.ledger
        return judge(history(self.root, self.config), ledger.hours, criteria(self.config), ledger.core_hours)

    def out_of_time(self) -> Verdict | None:
        """BUDGET where a limit of time has passed in the middle of a round, with what the rounds before have shown."""
        limits = criteria(self.config)
        core_hours = self.ledger.core_hours if limits.max_core_hours is not None else 0.0
        limit = time_limit(self.ledger.hours, core_hours, limits)
        if not limit:
            return None
        round, open = self.current, self.waiting()
        at = f"round {round} waits for {len(open)} labels" if open else f"round {round} is not done"
        return Verdict("BUDGET", f"{limit}; {at}", evidence(history(self.root, self.config), limits))


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
        max_core_hours=stop.core_hours,
    )


def _none(value: float) -> float | None:
    return value if math.isfinite(value) else None
