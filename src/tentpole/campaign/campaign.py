"""The loop: ask for labels, tell them, train, explore, ask again, until there is a verdict.

The folder is the state. Every step is either done, and then its file is there, or not, and then it is
done (again) with the same result: that is all there is to resuming.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from tentpole.campaign.batches import Failure, Request, batch_path, failure_of
from tentpole.campaign.context import open_context
from tentpole.campaign.folder import locate, settle
from tentpole.campaign.rounds import Rounds, criteria
from tentpole.campaign.verdict import Verdict
from tentpole.config.schema import CampaignConfig
from tentpole.execution.metering import metered
from tentpole.progress import Silent, Watcher
from tentpole.records import Label
from tentpole.storage.atomic import read_json, write_json
from tentpole.storage.journal import Journal
from tentpole.storage.labels import carry_labels, label_path, quarantine, read_label, write_label
from tentpole.storage.lock import Lock

__all__ = ["Campaign", "Failure", "Request"]


class Campaign:
    """A campaign in its folder. Use as a context manager: it holds the folder's lock.

    `source` is a campaign file, a campaign folder, or a CampaignConfig; `folder` defaults to
    runs/<name>, or the folder itself. `watch` is told of progress.

    Raises InputError for a campaign file that cannot be used or that differs from the one the folder was
    started with, StateError for a folder that is locked, damaged, or of another version.
    """

    def __init__(
        self,
        source: CampaignConfig | Path | str,
        folder: Path | str | None = None,
        *,
        watch: Watcher | None = None,
    ) -> None:
        given, self.folder = locate(source, folder)
        self._lock = Lock(self.folder)
        self._life = ExitStack()
        try:
            self.config = settle(given, self.folder)
            self._journal = Journal(self.folder / "journal.jsonl")
            self._journal.append("opened", version=1)
            self._work = open_context(self.config, self.folder, self._journal, watch or Silent())
            self._rounds = Rounds(self._work)
            self._life.enter_context(metered(self.folder, self._rounds.ledger.driver))
            self._asked_at: float | None = None
            self._cut_short = False
            self._reconsider()
        except BaseException:
            self._life.close()
            self._lock.release()
            raise

    @property
    def verdict(self) -> Verdict | None:
        """How it ended, or None while it goes on."""
        path = self.folder / "verdict.json"
        return Verdict.from_json(read_json(path)) if path.exists() else None

    @property
    def round(self) -> int:
        """The round that is under way: 0 labels the initial structures."""
        return self._rounds.current

    def ask(self) -> list[Request]:
        """The structures that want a label now, or [] when there is a verdict.

        Trains and explores first where that is what comes next. Asking again without telling gives what is
        still without an answer. Where [explore] ahead says so, walkers run on in the background meanwhile.
        """
        requests = self._next()
        if requests:
            self._rounds.explore_ahead()
        return requests

    def _next(self) -> list[Request]:
        while True:
            waiting = self._rounds.waiting() if self.verdict is None else self._rounds.gone()
            if waiting and self.verdict is None and (over := self._rounds.out_of_time()):
                self._conclude(over)
                continue
            if waiting:
                self._asked_at = time.monotonic()
                return waiting
            if self._rounds.mend():
                continue
            if self.verdict is not None:
                return []
            verdict = self._rounds.step()
            if verdict is not None:
                self._conclude(verdict)

    def tell(self, answers: Iterable[Label | Failure]) -> None:
        """Take answers, in any order and portions. A label is durable when this returns.

        Raises InputError for a label of another reference or of a structure that was not asked for.
        """
        waiting = {request.name: request for request in self._rounds.waiting()}
        asked = self._rounds.asked()
        for answer in answers:
            self._rounds.check_answer(answer, asked)
            if isinstance(answer, Failure):
                self._fail(list(waiting.values()), answer)
            else:
                if answer.name in waiting:
                    write_label(self.folder, answer)
                self._rounds.ledger.label(answer)
        self._note_time()

    def carry_labels(self, other: Path | str) -> tuple[int, int]:
        """Take over the labels of another campaign's folder that are of this reference, so that none of them is
        computed again; returns how many those are, and how many are of other references. See `carry_labels`."""
        counts = carry_labels(Path(other), self.folder, self._work.reference.hash)
        self._journal.append("labels carried", source=str(other), number=counts[0])
        return counts

    def run(self) -> Verdict:
        """Label with the campaign's own reference and workers until there is a verdict."""
        while requests := self._next():
            for done, outcome in enumerate(self._rounds.label(requests), start=1):
                if outcome.ok and outcome.computed:
                    self._rounds.ledger.computed(outcome.name, outcome.seconds, outcome.core_seconds)
                elif outcome.ok:
                    self._rounds.ledger.label(read_label(label_path(self.folder, *outcome.name.split("-"))))
                else:
                    failure = Failure(outcome.name, outcome.reason, outcome.message)
                    self._fail(requests, failure, outcome.core_seconds)
                self._work.watch.progress(f"round {self.round}: labels", done, len(requests))
            self._note_time()
        verdict = self.verdict
        assert verdict is not None
        return verdict

    def _reconsider(self) -> None:
        """Judge again where [stop] or [target] changed since the verdict: a larger budget goes on; and where the
        last driver was stopped between the end of a round and its verdict."""
        path = self.folder / "verdict.json"
        if path.exists() and read_json(path)["criteria"] == self._criteria():
            return
        if not path.exists() and (self.round == 0 or batch_path(self.folder, self.round).exists()):
            return
        verdict = self._rounds.judge()
        if verdict is not None:
            self._conclude(verdict)
        elif path.exists():
            path.unlink()
            self._journal.append("verdict withdrawn", reason="[stop] or [target] changed")

    def _conclude(self, verdict: Verdict) -> None:
        write_json(self.folder / "verdict.json", {**verdict.to_json(), "criteria": self._criteria()})
        self._journal.append("verdict", kind=verdict.kind, reason=verdict.reason)
        self._rounds.abandon()
        self._cut_short = bool(self._rounds.waiting())  # what still runs is no longer wanted

    def _criteria(self) -> dict[str, Any]:
        return asdict(criteria(self.config))

    def _fail(self, requests: list[Request], failure: Failure, core_seconds: float = 0.0) -> None:
        """Put on record that a structure gets no label, where its worker has not done so."""
        for request in requests:
            if request.name == failure.name and failure_of(self.folder, request) is None:
                quarantine(self.folder, failure.name, failure.reason, failure.message, request.atoms)
        self._rounds.ledger.failed(failure.name, failure.reason, core_seconds)
        self._work.watch.note(f"no label for {failure.name[:12]}…: {failure.reason}: {failure.message[:200]}")

    def _note_time(self) -> None:
        """Count the time since the last `ask` returned as labelling."""
        if self._asked_at is not None:
            now = time.monotonic()
            self._work.note_phase("labelling", now - self._asked_at)
            self._asked_at = now

    def close(self, *, at_once: bool = False) -> None:
        """End the workers and give the folder back. Everything is on disk already."""
        self._work.workers.close(at_once=at_once or self._cut_short)
        with suppress(OSError):
            self._rounds.ledger.collect()
        self._life.close()
        with suppress(OSError):  # a full disk has been told of already, and a missing "closed" is a crash's
            self._journal.append("closed")
        self._journal.close()
        self._lock.release()

    def __enter__(self) -> Campaign:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(at_once=kind is not None)
