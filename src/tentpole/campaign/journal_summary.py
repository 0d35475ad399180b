"""What a journal tells, summed, and how far: a cache, so that opening and status read only the lines that are new.

It is believed where the journal still begins with the bytes that it sums, by their number and CRC-32; one that is
damaged, or of another journal, counts as none, and the journal is read from its first line.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tentpole.campaign.paths import CampaignPaths
from tentpole.campaign.usage import Usage
from tentpole.errors import StateError, reading
from tentpole.storage.atomic import read_as, write_json
from tentpole.storage.journal import REMEDY, Place, events_after, same_beginning

SUMMARY_VERSION = 3
WORTH_BYTES = 65_536
"""A summary is written anew once so much has joined the journal, and a fiftieth of what was there."""


@dataclass
class JournalSummary:
    """The events of a journal up to a place.

    usage : what has been used. settings : every configuration that rounds had, each with the round from which it held,
    the last with what changed at once since. made_by : versions and processor of the last driver; structures : the
    files of structures that it found; reference : its reference's hash, "" where none is told. written : time of the
    last event (UTC), "" for none.
    """

    place: Place = field(default_factory=Place)
    usage: Usage = field(default_factory=Usage)
    settings: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    made_by: dict[str, str] = field(default_factory=dict)
    structures: dict[str, str] = field(default_factory=dict)
    reference: str = ""
    written: str = ""

    def add(self, event: Mapping[str, Any]) -> None:
        """Take in one event."""
        self.usage.add(event)
        self.written = event["time"]
        if event["event"] == "settings":
            self.take_settings(event)
        elif event["event"] == "opened":
            self.made_by = event.get("made_by", self.made_by)
            self.structures = event.get("structures", self.structures)
            self.reference = event.get("reference", self.reference)

    def take_settings(self, event: Mapping[str, Any]) -> None:
        """Take in settings, and the round from which they hold where that is told; else they replace the last."""
        first = event.get("from_round", self.settings[-1][0] if self.settings else 0)
        self.settings = [one for one in self.settings if one[0] < first] + [(first, event["settings"])]

    def to_json(self) -> dict[str, Any]:
        """As it is kept."""
        return {
            "version": SUMMARY_VERSION,
            "place": [self.place.bytes, self.place.lines, self.place.crc32],
            "usage": self.usage.to_json(),
            "settings": self.settings,
            "made_by": self.made_by,
            "structures": self.structures,
            "reference": self.reference,
            "written": self.written,
        }

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> JournalSummary:
        """As `to_json` wrote it."""
        if content["version"] != SUMMARY_VERSION:
            raise ValueError(content["version"])
        usage = Usage.from_json(content["usage"])
        rest = {key: content[key] for key in ("made_by", "structures", "reference", "written")}
        settings = [(first, kept) for first, kept in content["settings"]]
        return JournalSummary(Place(*content["place"]), usage, settings, **rest)


def read_journal(paths: CampaignPaths) -> JournalSummary:
    """The sum of all events in a campaign's journal. Raises StateError for a damaged line, with its number."""
    return _advanced(_kept(paths), paths)


def keep_summary(paths: CampaignPaths, *, always: bool = False) -> None:
    """Keep the sum for those who read the journal next, where enough is new. A disk that is full costs that alone."""
    try:
        kept = _kept(paths)
        before = kept.place.bytes
        new = _advanced(kept, paths)
        if new.place.bytes - before >= (1 if always else max(WORTH_BYTES, before // 50)):
            write_json(paths.journal_summary, new.to_json())
    except (OSError, StateError):
        return


def _advanced(summary: JournalSummary, paths: CampaignPaths) -> JournalSummary:
    with reading(paths.journal, error=StateError, remedy=REMEDY):
        for event, place in events_after(paths.journal, summary.place):
            summary.add(event)
            summary.place = place
    return summary


def _kept(paths: CampaignPaths) -> JournalSummary:
    with suppress(OSError, StateError):
        summary = read_as(paths.journal_summary, JournalSummary.from_json)
        if same_beginning(paths.journal, summary.place):
            return summary
    return JournalSummary()
