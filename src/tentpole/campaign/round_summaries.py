"""Summaries of rounds that are done, so that looking back at one costs little: a cache, which may be deleted any time.

The files of a closed round are written once, structures and the pairs of parity plots are most of them, and those that
look back want neither. The summary holds the rest, and of each file that it was made of its size, time of change and
SHA-256. It is believed for a file whose size and time are the same, or whose content is (a copied folder); a summary
that is damaged or of something else counts as none.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tentpole.campaign.batches import AskedFrame, BatchRecord, Method
from tentpole.campaign.facts import BatchFacts, ErrorFacts, FrameError, RoundEnd, RoundOutcome
from tentpole.campaign.paths import BatchName, CampaignPaths
from tentpole.errors import StateError
from tentpole.records import Condition
from tentpole.storage.atomic import read_as, write_json

SUMMARY_VERSION = 3


@dataclass(frozen=True, slots=True)
class RoundSummary:
    """What a round's batch, outcome and end say, without structures and parity. end : None for the validation set.

    files : size and time of change (ns) of each, and its SHA-256, by the file's name, as they were read.
    """

    record: BatchRecord
    outcome: RoundOutcome
    end: RoundEnd | None
    files: Mapping[str, tuple[list[int], str]] = field(default_factory=dict)

    def is_of(self, path: Path) -> bool:
        """Whether this is what the file, one of the three, says now."""
        identity, sha256 = self.files.get(path.name, ([], ""))
        return identity == _identity(path) or sha256 == _sha256(path)


def write_summary(paths: CampaignPaths, name: BatchName, method: Method, summary: RoundSummary) -> None:
    """Keep what a round says. A disk that does not take it costs the summary alone."""
    frames = summary.record.frames
    conditions = list(dict.fromkeys(frame.condition for frame in frames))
    outcome = replace(summary.outcome, errors=None).to_json()
    outcome |= {"coverage": summary.outcome.coverage, "errors": _columns(summary.outcome.errors)}
    end = None
    if summary.end is not None:
        end = replace(summary.end, validation=None).to_json() | {"errors": _columns(summary.end.validation)}
    content = {
        "version": SUMMARY_VERSION,
        "files": {path.name: [_identity(path), _sha256(path)] for path in _files(paths, name)},
        "method": asdict(method),
        "facts": summary.record.facts.to_json(),
        "conditions": [None if one is None else one.to_json() for one in conditions],
        "frames": [[f.id, f.name, conditions.index(f.condition), f.audit] for f in frames],
        "outcome": outcome,
        "end": end,
    }
    with suppress(OSError):
        write_json(paths.summary(name), content)


def read_summary(paths: CampaignPaths, name: BatchName, method: Method) -> RoundSummary | None:
    """The summary of a round; None where there is none, or it is damaged or of another method."""
    try:
        content = read_as(paths.summary(name), dict)
        if content["version"] != SUMMARY_VERSION or content["method"] != asdict(method):
            return None
        return _summary(content)
    except (OSError, StateError, KeyError, TypeError, ValueError, IndexError, AttributeError):
        return None


def _summary(content: dict[str, Any]) -> RoundSummary:
    conditions = [None if one is None else Condition(**one) for one in content["conditions"]]
    frames = tuple(AskedFrame(frame, name, conditions[k], audit) for frame, name, k, audit in content["frames"])
    outcome = RoundOutcome.from_json(content["outcome"])
    outcome = replace(outcome, errors=_errors(content["outcome"]["errors"]), coverage=content["outcome"]["coverage"])
    end = content["end"]
    if end is not None:
        end = replace(RoundEnd.from_json(end), validation=_errors(end["errors"]))
    files = {file: (identity, sha256) for file, (identity, sha256) in content["files"].items()}
    return RoundSummary(BatchRecord(BatchFacts.from_json(content["facts"]), frames), outcome, end, files)


def _columns(errors: ErrorFacts | None) -> dict[str, Any] | None:
    """All but the pairs, each quantity of all frames in one list."""
    if errors is None:
        return None
    return {
        "rmse": [errors.force_rmse, errors.energy_rmse],
        "names": list(errors.frames),
        "columns": [_packed(column) for column in zip(*errors.frames.values(), strict=True)],
        "elements": dict(errors.elements),
        "likeness": errors.likeness,
    }


def _packed(column: Sequence[float | None]) -> str | list[float | None]:
    """Float64 numbers as base64, which is read several times as fast as digits; as they are where one is lacking."""
    if None in column:
        return list(column)
    return base64.b64encode(np.asarray(column, dtype="<f8").tobytes()).decode()


def _unpacked(column: str | list[float | None]) -> list[float | None]:
    if isinstance(column, list):
        return column
    return list(np.frombuffer(base64.b64decode(column), dtype="<f8").tolist())


def _errors(content: Mapping[str, Any] | None) -> ErrorFacts | None:
    if content is None:
        return None
    frames = map(FrameError._make, zip(*map(_unpacked, content["columns"]), strict=True))
    named = dict(zip(content["names"], frames, strict=True))
    forces, energy = content["rmse"]
    return ErrorFacts(forces, energy, named, content["elements"], content["likeness"], np.zeros((0, 2)))


def _files(paths: CampaignPaths, name: BatchName) -> list[Path]:
    return [paths.batch(name), paths.outcome(name), *([paths.end(name)] if isinstance(name, int) else [])]


def _identity(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
