"""Summaries of closed batches, so that looking back at a round costs little: a cache, which may be deleted at any time.

A batch is written once, its structures are most of it, and those that look back want none of them. The summary holds
the rest, and what it was made of: its batch's size, time of change and SHA-256. It is believed where size and time are
the same, or the content is (a copied folder); a summary that is damaged or of something else counts as none.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from tentpole.campaign.batches import AskedFrame, BatchRecord, Method
from tentpole.campaign.facts import BatchFacts
from tentpole.campaign.paths import BatchName, CampaignPaths
from tentpole.errors import StateError
from tentpole.records import Condition
from tentpole.storage.atomic import read_as, write_json

SUMMARY_VERSION = 1


def write_summary(paths: CampaignPaths, name: BatchName, method: Method, record: BatchRecord) -> None:
    """Keep what `record` says of the batch `name`. A disk that does not take it costs the summary alone."""
    conditions = list(dict.fromkeys(frame.condition for frame in record.frames))
    content = {
        "version": SUMMARY_VERSION,
        "of": _identity(paths, name),
        "sha256": _sha256(paths, name),
        "method": asdict(method),
        "facts": record.facts.to_json(),
        "conditions": [None if one is None else asdict(one) for one in conditions],
        "frames": [[f.id, f.name, conditions.index(f.condition), f.audit] for f in record.frames],
    }
    with suppress(OSError):
        write_json(paths.summary(name), content)


def read_summary(paths: CampaignPaths, name: BatchName, method: Method) -> BatchRecord | None:
    """The batch `name` without its structures; None where there is no summary of the batch as it is now."""
    try:
        content = read_as(paths.summary(name), dict)
        if content["version"] != SUMMARY_VERSION or content["method"] != asdict(method):
            return None
        if content["of"] != _identity(paths, name) and content["sha256"] != _sha256(paths, name):
            return None
        return _record(content)
    except (OSError, StateError, KeyError, TypeError, ValueError, IndexError):
        return None


def _record(content: dict[str, Any]) -> BatchRecord:
    conditions = [None if one is None else Condition(**one) for one in content["conditions"]]
    frames = (AskedFrame(frame, name, conditions[k], audit) for frame, name, k, audit in content["frames"])
    return BatchRecord(BatchFacts.from_json(content["facts"]), tuple(frames))


def _identity(paths: CampaignPaths, name: BatchName) -> list[int]:
    status = paths.batch(name).stat()
    return [status.st_size, status.st_mtime_ns]


def _sha256(paths: CampaignPaths, name: BatchName) -> str:
    return hashlib.sha256(paths.batch(name).read_bytes()).hexdigest()
