"""Where a campaign stands, read from its files: which round is under way, what waits for a label, what is known.

Files of closed rounds never change: each is read once and kept, by its size and times on disk. Nothing is written here
but the summaries of rounds that are done, by drivers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tentpole.campaign.batches import (
    Batch,
    BatchRecord,
    Method,
    Request,
    labels_of,
    pending,
    read_batch,
    read_end,
    read_outcome,
)
from tentpole.campaign.facts import VERSION, CalibrationFacts, LimitFacts, RoundEnd, RoundOutcome
from tentpole.campaign.paths import VALIDATION, BatchName, CampaignPaths
from tentpole.campaign.round_summaries import RoundSummary, read_summary, write_summary
from tentpole.campaign.verdict import MEANING, Verdict
from tentpole.committee.committee_files import COMMITTEE_FILE, is_whole
from tentpole.errors import InputError, StateError, unknown
from tentpole.records import Label
from tentpole.storage.atomic import REMEDY, read_as
from tentpole.storage.labels import label_names

T = TypeVar("T")
FEWEST_LABELS = 2
"""Of a committee: one trains, one is held back."""


class FileCache:
    """What files hold, kept until a file's size, time of change or identity differs."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Path, str], tuple[tuple[int, int, int], Any]] = {}

    def read(self, path: Path, what: str, parse: Callable[[], T]) -> T:
        """`parse()`, or what it gave before where `path` is unchanged. `what` tells several views of one file apart."""
        status = path.stat()
        identity = (status.st_ino, status.st_size, status.st_mtime_ns)
        kept = self._kept.get((path, what))
        if kept is None or kept[0] != identity:
            kept = (identity, parse())
            self._kept[path, what] = kept
        value: T = kept[1]
        return value

    def drop(self, path: Path, what: str) -> None:
        """Keep this no longer."""
        self._kept.pop((path, what), None)


@dataclass
class RoundState:
    """The rounds of one campaign.

    validation : whether round 0 has the fixed set's batch too. keep_batches : whether all that is read is kept as it
    was, with structures: for readers that come back to it. summarises : whether summaries of rounds that are done are
    written where there are none: for drivers, who hold the folder.
    """

    paths: CampaignPaths
    method: Method
    validation: bool
    keep_batches: bool = False
    summarises: bool = False
    _files: FileCache = field(default_factory=FileCache, repr=False)
    _known: dict[tuple[str, BatchName], Any] = field(default_factory=dict, repr=False)
    _done: int = field(default=0, repr=False)
    _missing: list[BatchName] | None = field(default=None, repr=False)

    @property
    def current(self) -> int:
        """The first round that is not done."""
        while self._is_done(self._done):
            self._done += 1
        return self._done

    def names(self, number: int) -> list[BatchName]:
        """The batches of a round."""
        return [0, VALIDATION] if number == 0 and self.validation else [number]

    def is_decided(self, name: BatchName) -> bool:
        """Whether it is known which structures are asked for."""
        return self.paths.batch(name).exists()

    def is_closed(self, name: BatchName) -> bool:
        """Whether every structure of the batch has an outcome that counts."""
        return self.paths.outcome(name).exists()

    def is_trained(self, number: int) -> bool:
        """Whether this round has no need of training.

        Its committee is whole, or it brought no labels, or it was a final look that the committee in force passed.
        """
        outcome = self.outcome(number)
        return is_whole(self.paths.models(number)) or not outcome.accepted or bool(outcome.passed)

    def batch(self, name: BatchName) -> Batch:
        """The batch of a round with its structures; kept for the rounds that are not done."""
        path = self.paths.batch(name)
        if self.keep_batches or name in self.names(self._done):
            return self._files.read(path, "batch", lambda: read_batch(self.paths, name, self.method))
        self._files.drop(path, "batch")
        return read_batch(self.paths, name, self.method)

    def record(self, name: BatchName) -> BatchRecord:
        """The batch of a round without its structures."""
        return self._once("record", name, self.paths.batch, lambda: self._record(name))

    def outcome(self, name: BatchName) -> RoundOutcome:
        """What came of a closed batch; the pairs of its errors may be left out (see `read_outcome`)."""
        return self._once("outcome", name, self.paths.outcome, lambda: self._outcome(name))

    def _once(self, what: str, name: Any, path_of: Callable[[Any], Path], parse: Callable[[], T]) -> T:
        """What a file of a round holds: looked at again each time, but by readers that keep all as it was."""
        if (what, name) in self._known:
            known: T = self._known[what, name]
            return known
        value = self._files.read(path_of(name), what, parse)
        if self.keep_batches:
            self._known[what, name] = value
        return value

    def _record(self, name: BatchName) -> BatchRecord:
        summary = self._summary(name, self.paths.batch(name))
        return BatchRecord.of(self.batch(name)) if summary is None else summary.record

    def _outcome(self, name: BatchName) -> RoundOutcome:
        summary = self._summary(name, self.paths.outcome(name))
        return read_outcome(self.paths, name) if summary is None else summary.outcome

    def _end(self, number: int) -> RoundEnd:
        summary = self._summary(number, self.paths.end(number))
        return read_end(self.paths, number) if summary is None or summary.end is None else summary.end

    def _summary(self, name: BatchName, path: Path) -> RoundSummary | None:
        """What the summary of a round says, where it is of the file `path` as that is now; None for no such summary."""
        summary: RoundSummary | None = None
        with suppress(FileNotFoundError):
            where = self.paths.summary(name)
            summary = self._files.read(where, "summary", lambda: read_summary(self.paths, name, self.method))
        if summary is not None and summary.is_of(path):
            return summary
        return self._summarised(name) if self.summarises and self._has_ended(name) else None

    def _summarised(self, name: BatchName) -> RoundSummary:
        end = read_end(self.paths, name) if isinstance(name, int) else None
        summary = RoundSummary(BatchRecord.of(self.batch(name)), read_outcome(self.paths, name), end)
        write_summary(self.paths, name, self.method, summary)
        return summary

    def _has_ended(self, name: BatchName) -> bool:
        return self.is_closed(name) and (isinstance(name, str) or self.paths.end(name).exists())

    def end(self, number: int) -> RoundEnd:
        """Validation and calibration after a round that is done; the pairs of its errors may be left out."""
        end = self._once("end", number, self.paths.end, lambda: self._end(number))
        if self.validation and end.validation is None and self.is_decided(VALIDATION):
            raise StateError(f"{self.paths.end(number)}: damaged, it lacks the errors on the validation set. {REMEDY}")
        return end

    @property
    def verdict(self) -> Verdict | None:
        """How the campaign ended, None where it has not."""
        return read_as(self.paths.verdict, _verdict) if self.paths.verdict.exists() else None

    @property
    def is_hopeless(self) -> bool:
        """Whether round 0 is closed with fewer labels than a committee can be made of."""
        decided = self.is_decided(0) and self.is_closed(0)
        return decided and len(self.outcome(0).accepted) < FEWEST_LABELS

    def open_batches(self) -> list[BatchName]:
        """The batches that may lack a label: those decided of this round, and others whose label files are missing."""
        return self.missing() + [name for name in self.names(self.current) if self.is_decided(name)]

    def missing(self) -> list[BatchName]:
        """Batches of rounds that are done whose label files were not all there when first asked, and are not now."""
        if self._missing is None:
            there = label_names(self.paths.root)
            names = [name for number in range(self.current) for name in self.names(number)]
            self._missing = [name for name in names if not there.issuperset(self.outcome(name).accepted)]
        self._missing = [
            name
            for name in self._missing
            if not all(self.paths.label(label).exists() for label in self.outcome(name).accepted)
        ]
        return list(self._missing)

    def waiting(self) -> list[Request]:
        """The structures that have no outcome yet; [] also where none are decided."""
        return [request for name in self.open_batches() for request in pending(self.paths, self.batch(name))]

    def missing_requests(self) -> list[Request]:
        """The structures of the rounds that are done whose labels are no longer there."""
        return [request for name in self.missing() for request in pending(self.paths, self.batch(name))]

    def asked(self) -> dict[str, Request]:
        """All that wants or wanted a label in the open batches, answered or not, by label name."""
        return {key: request for name in self.open_batches() for key, request in self.batch(name).by_name.items()}

    def labels(self, last: int) -> list[Label]:
        """The dataset after round `last`, in the order it grew."""
        return [label for number in range(last + 1) for label in labels_of(self.paths, self.outcome(number))]

    def conditions(self, last: int) -> list[str]:
        """The condition of each label up to round `last`; see `conditions_in`."""
        return [condition for number in range(last + 1) for condition in self.conditions_in(number)]

    def conditions_in(self, number: int) -> list[str]:
        """The condition of each label of a round; "initial" for those from before any exploration."""
        of = {frame.name: str(frame.condition or "initial") for frame in self.record(number).frames}
        return [of[name] for name in self.outcome(number).accepted]

    def count(self, last: int) -> int:
        """How many labels the dataset after round `last` has."""
        return sum(len(self.outcome(number).accepted) for number in range(last + 1))

    def newest_models(self, last: int) -> Path:
        """The committee's folder that is in force after round `last`: rounds without labels train none."""
        committees = self._committees(last)
        if not committees:
            raise StateError(
                f"{self.paths.root}: no committee has been trained up to round {last}. Start again in another folder."
            )
        return committees[0]

    def models_before(self, last: int) -> Path | None:
        """The committee that was in force before that of `newest_models(last)`; None where there was none."""
        committees = self._committees(last)
        return committees[1] if len(committees) > 1 else None

    def training_start(self, number: int) -> Path | None:
        """The committee from which the training of a round goes on.

        That is the newest, or the one before where the newest is worse on the round's audit frames; None in round 0.
        """
        if number == 0:
            return None
        canary = self.outcome(number).canary
        worse = canary is not None and canary.worse
        return (self.models_before(number - 1) if worse else None) or self.newest_models(number - 1)

    def trained_further(self, last: int) -> bool:
        """Whether the committee of round `last` was trained until its errors no longer fell, after the round's end."""
        return (self.paths.finished(last) / COMMITTEE_FILE).exists()

    def calibrated(self, last: int) -> tuple[CalibrationFacts | None, LimitFacts | None]:
        """What σ of the committee in force after round `last` is worth: by the validation set, and by audit frames.

        Nothing where it was trained further since that was measured: its members agree several times better then and
        err nearly as much.
        """
        if last < 0 or self.trained_further(last):
            return None, None
        end = self.end(last)
        return end.calibration, end.limit

    def _committees(self, last: int) -> list[Path]:
        """The folders of the two newest committees up to round `last`, the newest first."""
        committees: list[Path] = []
        for number in range(last, -1, -1):
            folders = (self.paths.finished(number), self.paths.models(number))
            committees.extend(folder for folder in folders if (folder / COMMITTEE_FILE).exists())
            if len(committees) > 1:
                break
        return committees

    def needs_finished(self, number: int) -> bool:
        """Whether the round after `number` was a final look at a finished committee that is no longer there."""
        after = number + 1
        if not self.is_decided(after) or not self.record(after).facts.finished:
            return False
        return not is_whole(self.paths.finished(number))

    def validation_error(self, number: int) -> float:
        """Force RMSE (eV/Å) on the fixed set of the committee made after a round; NaN where there is none."""
        return self.end(number).force_rmse if number >= 0 else math.nan

    def _is_done(self, number: int) -> bool:
        """All three files of a round that is done are there, and those of the validation set with round 0's."""
        names = self.names(number)
        if number == 0 and (self.is_decided(VALIDATION) or self.is_closed(VALIDATION)):
            names = [0, VALIDATION]
        return self.paths.end(number).exists() and all(self.is_decided(n) and self.is_closed(n) for n in names)


def _verdict(content: dict[str, Any]) -> Verdict:
    if content.get("version", VERSION) != VERSION:
        raise InputError(f"format version {content['version']}, this Tentpole reads {VERSION}")
    verdict = Verdict.from_json(content)
    if verdict.kind not in MEANING:
        raise unknown("verdict", verdict.kind, MEANING)
    return verdict
