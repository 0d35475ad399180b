"""The loop: ask for labels, tell them, train, explore, ask again, until there is a verdict.

The folder is the state. Every step is either done, and then its file is there, or not, and then it is
done (again) with the same result: that is all there is to resuming.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tentpole.campaign.ahead import Ahead
from tentpole.campaign.answers import count_outcome, note_failure
from tentpole.campaign.batches import Failure, Request, check_answer, failure_of, same_answer
from tentpole.campaign.journal_summary import keep_summary
from tentpole.campaign.judging import criteria, judge_rounds
from tentpole.campaign.opening import open_campaign
from tentpole.campaign.steps import finish_committee, label, make_missing, next_step, time_is_up
from tentpole.campaign.verdict import OF_SETTINGS, Verdict
from tentpole.config.schema import CampaignConfig
from tentpole.errors import InputError
from tentpole.progress import ProgressListener
from tentpole.records import Label
from tentpole.storage.atomic import read_json
from tentpole.storage.labels import carry_labels, read_label, write_label

if TYPE_CHECKING:
    pass

__all__ = ["Campaign", "Failure", "Request"]


class Campaign:
    """A campaign in its folder. Use as a context manager: it holds the folder's lock.

    Parameters
    ----------
    source : path, str or CampaignConfig
        A campaign file, a campaign folder, or settings.
    folder : path, optional
        Where the campaign lives; default: runs/<name>, or the folder itself.
    progress : ProgressListener, optional
        Is told how far long work is.

    Raises
    ------
    InputError
        For a campaign file that cannot be used or that differs from the one the folder was started with.
    StateError
        For a folder that is locked, damaged, edited, of another version, or without enough initial labels.

    Examples
    --------
    With labels of one's own making instead of `run`:

    >>> from ase.build import bulk
    >>> from ase.calculators.emt import EMT
    >>> from ase.io import write
    >>> write("copper.xyz", bulk("Cu", cubic=True))
    >>> settings = {
    ...     "name": "copper", "reference": "emt", "structures": ({"name": "fcc", "file": "copper.xyz"},),
    ...     "initial": {"kind": "rattle", "count": 3}, "stop": {"labels": 10},
    ... }
    >>> from tentpole import Campaign, CampaignConfig
    >>> with Campaign(CampaignConfig(**settings), "run") as campaign:
    ...     requests = campaign.ask()
    ...     for request in requests:
    ...         atoms = request.atoms.copy()
    ...         atoms.calc = EMT()
    ...         campaign.tell(request.label(atoms.get_potential_energy(), atoms.get_forces()))
    ...     print(campaign.round, len(requests), campaign.verdict)
    0 3 None
    """

    def __init__(
        self,
        source: CampaignConfig | Path | str,
        folder: Path | str | None = None,
        *,
        progress: ProgressListener | None = None,
    ) -> None:
        self._opened = open_campaign(source, folder, progress)
        self._context = self._opened.context
        self._ahead = Ahead(self._context)
        self._asked_at: float | None = None
        self._cut_short = self._complete = self._closed = False
        try:
            self._reconsider()
        except BaseException:
            self._give_back()
            raise

    @classmethod
    def open(
        cls,
        source: CampaignConfig | Path | str,
        folder: Path | str | None = None,
        *,
        progress: ProgressListener | None = None,
    ) -> Campaign:
        """Open a campaign: the same as `Campaign(source, folder, progress=progress)`, in words.

        Parameters
        ----------
        source, folder, progress
            As for the class.

        Returns
        -------
        Campaign
        """
        return cls(source, folder, progress=progress)

    @property
    def folder(self) -> Path:
        """Where the campaign lives."""
        return self._context.root

    @property
    def config(self) -> CampaignConfig:
        """Its settings."""
        return self._context.config

    @property
    def verdict(self) -> Verdict | None:
        """How it ended, or None while it goes on."""
        return self._context.state.verdict

    @property
    def round(self) -> int:
        """The round that is under way: 0 labels the initial structures."""
        return self._context.state.current

    def show(self) -> Any:
        """Write the report page as it is now and return it for a notebook to display; needs the extra "report".

        Returns
        -------
        object
            Jupyter shows it as the page.
        """
        return self._record().show()

    def __repr__(self) -> str:
        verdict = "no verdict yet" if self.verdict is None else self.verdict.kind
        return f"<Campaign {str(self.folder)!r}, round {self.round}, {verdict}>"

    def _repr_html_(self) -> str:
        html: str = self._record()._repr_html_()
        return html

    def _record(self) -> Any:
        from tentpole.campaign.record import CampaignRecord

        return CampaignRecord.read(self.folder)

    def ask(self) -> list[Request]:
        """The structures that want a label now.

        Trains and explores first where that is what comes next. Asking again without telling gives what is still
        without
        an answer. Where [explore] ahead says so, walkers run on in the background meanwhile.

        Returns
        -------
        list of Request
            [] when there is a verdict.
        """
        requests = self._next()
        if requests:
            self._ahead.start()
        return requests

    def waiting(self, *, answered: bool = False) -> list[Request]:
        """The structures that were asked for and have no answer; trains and explores nothing.

        Parameters
        ----------
        answered : bool
            With those of the round that have one.

        Returns
        -------
        list of Request
            [] where nothing is asked for now: `ask` finds out what comes next.
        """
        self._check_open()
        state = self._context.state
        return list(state.asked().values()) if answered else state.waiting()

    def tell(self, answers: Label | Failure | Iterable[Label | Failure]) -> None:
        """Take one answer or several, in any order and portions. A label is durable when this returns.

        Parameters
        ----------
        answers : Label, Failure, or iterable of them
            Made by `Request.label` and `Request.failed`.

        Raises
        ------
        InputError
            For an answer that was not asked for, that no training could use (another reference or structure, a wrong
            shape, numbers that are not finite or outside what the reference accepts, details that JSON cannot hold), or
            that differs from the answer that is there already: take that back with `retract` first.
        """
        self._check_open()
        asked, accept = self._context.state.asked(), self._context.reference.accept
        for answer in answers if isinstance(answers, Iterable) else [answers]:
            request = check_answer(answer, asked, self._context.state.method, accept)
            self._take(request, answer)
        self._note_time()

    def retract(self, name: str) -> None:
        """Take back the answer to a request of the round that is under way; `ask` then returns the request again.

        Parameters
        ----------
        name : str
            Of the request, the label or the failure.

        Raises
        ------
        InputError
            Where nothing was answered under that name, or where its round is closed: models were trained on it.
        """
        self._check_open()
        paths = self._context.paths
        if name not in self._context.state.asked() or self._answer(name) is None:
            raise InputError(
                f"{name}: no answer of round {self.round} that could be taken back. Closed rounds stay as they are."
            )
        if any(self._context.state.is_closed(batch) for batch in self._batches_of(name)):
            raise InputError(f"{name}: its batch is closed, and models are trained on it. It stays as it is.")
        for path in (paths.label(name), paths.failure(name)):
            path.unlink(missing_ok=True)
        self._context.ledger.retracted(name)

    def carry_labels(self, other: Path | str) -> tuple[int, int]:
        """Take over the labels of another campaign's folder that are of this reference; none is computed again.

        Parameters
        ----------
        other : path
            That folder.

        Returns
        -------
        tuple of int
            How many those are, and how many are of other references.
        """
        self._check_open()
        counts = carry_labels(Path(other), self.folder, self._context.state.method.reference)
        self._context.journal.append("labels carried", source=str(other), number=counts[0])
        return counts

    def run(self) -> Verdict:
        """Label with the campaign's own reference and workers until there is a verdict.

        Returns
        -------
        Verdict
        """
        while requests := self._next():
            by_name = {request.name: request for request in requests}
            for done, outcome in enumerate(label(self._context, self._ahead, requests), start=1):
                self._context.folder.check()
                count_outcome(self._context, outcome, by_name)
                self._context.progress.progress(f"round {self.round}: labels", done, len(requests))
            self._note_time()
        verdict = self.verdict
        assert verdict is not None
        return verdict

    def close(self, *, at_once: bool = False) -> None:
        """End the workers and give the folder back. Everything is on disk already; closing again does nothing.

        Parameters
        ----------
        at_once : bool
            Kill what still runs instead of waiting for it.
        """
        if self._closed:
            return
        self._context.workers.close(at_once=at_once or self._cut_short)
        self._give_back()

    def _next(self) -> list[Request]:
        while True:
            self._check_open()
            state, verdict = self._context.state, self.verdict
            waiting = state.waiting() if verdict is None else state.missing_requests()
            if waiting and verdict is None and (over := time_is_up(self._context)):
                self._conclude(over)
                continue
            if waiting:
                self._asked_at = time.monotonic()
                return waiting
            if not self._complete:
                self._complete = not make_missing(self._context, self._ahead)
                continue
            if verdict is not None:
                finish_committee(self._context, verdict)
                return []
            requests = next_step(self._context, self._ahead)
            if requests is not None:
                self._conclude(requests)

    def _reconsider(self) -> None:
        """Judge again what the last driver may have left in the wrong.

        That is where what it rests on changed since the verdict (a larger budget goes on, and so do other settings of
        rounds where they are what was to change), and where it was stopped between the end of a round and its verdict.
        """
        context = self._context
        path = context.paths.verdict
        if self.verdict is not None:  # settings that a verdict from before them does not know are as it took them
            now = self._criteria()
            as_judged = self.verdict.kind not in OF_SETTINGS or context.settings.since < self.round
            if as_judged and all(
                now.get(key) == value for key, value in read_json(path).get("criteria", {"": None}).items()
            ):
                return
        if not path.exists() and (self.round == 0 or context.state.is_decided(self.round)):
            return
        verdict = judge_rounds(context.state, context.settings, context.ledger)
        if verdict is not None:
            self._conclude(verdict)
        elif path.exists():
            path.unlink()
            context.journal.append("verdict withdrawn", reason="settings changed")

    def _conclude(self, verdict: Verdict) -> None:
        self._context.write(self._context.paths.verdict, {**verdict.to_json(), "criteria": self._criteria()})
        self._context.journal.append("verdict", kind=verdict.kind, reason=verdict.reason)
        self._ahead.abandon()
        self._cut_short = bool(self._context.state.waiting())  # what still runs is no longer wanted

    def _criteria(self) -> dict[str, Any]:
        values: dict[str, Any] = json.loads(json.dumps(asdict(criteria(self.config))))  # as it is read back
        return values

    def _answer(self, name: str) -> Label | Failure | None:
        """The answer that is on disk."""
        path = self._context.paths.label(name)
        return read_label(path) if path.exists() else failure_of(self._context.paths, name)

    def _batches_of(self, name: str) -> list[int | str]:
        state = self._context.state
        decided = [batch for batch in state.names(state.current) if state.is_decided(batch)]
        return [batch for batch in decided if name in state.batch(batch).by_name]

    def _take(self, request: Request, answer: Label | Failure) -> None:
        before = self._answer(answer.name)
        if before is not None and not same_answer(before, answer):
            raise InputError(
                f"{answer.name}: has another answer already. To replace it: campaign.retract({answer.name!r}), then "
                "tell the new one"
            )
        if isinstance(answer, Failure):
            if before is None:
                note_failure(self._context, request, answer)
            return
        if before is None:
            write_label(self.folder, answer)
        self._context.ledger.label(answer)

    def _note_time(self) -> None:
        """Count the time since the last `ask` returned as labelling."""
        if self._asked_at is not None:
            now = time.monotonic()
            self._context.note_phase("labelling", now - self._asked_at)
            self._asked_at = now

    def _check_open(self) -> None:
        if self._closed:
            raise InputError(f"{self.folder}: this campaign is closed. Open it again: Campaign({str(self.folder)!r})")
        self._context.folder.check()

    def _give_back(self) -> None:
        self._closed = True
        with suppress(OSError):
            self._context.ledger.collect()
        self._opened.meter.close()
        with suppress(OSError):  # a full disk has been told of already, and a missing "closed" is a crash's
            self._context.journal.append("closed")
        self._context.journal.close()
        keep_summary(self._context.paths)
        self._opened.lock.release()

    def __enter__(self) -> Campaign:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(at_once=kind is not None)
