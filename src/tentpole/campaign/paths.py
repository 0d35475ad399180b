"""Where everything lies in a campaign folder: the one place that spells file names of rounds, models and shards."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tentpole.execution.metering import SPENT
from tentpole.storage.labels import label_path
from tentpole.storage.lock import LOCK_FILE

CAMPAIGN_FILE = "campaign.toml"
VALIDATION = "validation"
"""Name of the fixed set's batch, which belongs to round 0."""
PRETRAINING = "pretraining"
"""Name of the batch that the cheap reference labels, before round 0, and of what is trained on it."""
FINISHED = "-finished"
"""Ends the name of a committee that was trained until its errors no longer fell."""

BatchName = int | str
"""A round's number, VALIDATION or PRETRAINING."""

_SHARD = re.compile(r"r(\d+)-(.+)\.h5")


@dataclass(frozen=True, slots=True)
class CampaignPaths:
    """The file names of the campaign folder `root`. Nothing here reads or writes.

    >>> CampaignPaths(Path("runs/si")).batch(3).as_posix()
    'runs/si/rounds/r003/batch.json'
    """

    root: Path

    @property
    def campaign_file(self) -> Path:
        """The resolved configuration."""
        return self.root / CAMPAIGN_FILE

    @property
    def journal(self) -> Path:
        """Every fact, appended."""
        return self.root / "journal.jsonl"

    @property
    def lock(self) -> Path:
        """Host and process of the driver that works here."""
        return self.root / LOCK_FILE

    @property
    def verdict(self) -> Path:
        """How the campaign ended."""
        return self.root / "verdict.json"

    @property
    def structures(self) -> Path:
        """Copies of the starting structures and of given frames."""
        return self.root / "structures"

    @property
    def references(self) -> Path:
        """The copy of a reference file that does not ship with Tentpole."""
        return self.root / "reference"

    @property
    def quarantine(self) -> Path:
        """One folder for each structure whose label failed."""
        return self.root / "quarantine"

    @property
    def work(self) -> Path:
        """Folders of the labels that are being computed."""
        return self.root / "work"

    @property
    def spent(self) -> Path:
        """Core-seconds of jobs under way."""
        return self.root / SPENT

    @property
    def snapshots(self) -> Path:
        """The explored frames of all walkers and rounds."""
        return self.root / "snapshots"

    @property
    def walkers(self) -> Path:
        """Checkpoints of walkers within a round."""
        return self.root / "walkers"

    @property
    def report(self) -> Path:
        """The page and its figures."""
        return self.root / "report"

    @property
    def cache(self) -> Path:
        """Summaries of what is in other files. It may be deleted."""
        return self.root / "cache"

    @property
    def journal_summary(self) -> Path:
        """The sum of the journal's events up to some line."""
        return self.cache / "journal.json"

    def summary(self, name: BatchName) -> Path:
        """What a closed batch has to tell, without its structures."""
        return self.cache / f"{_stem(name) if isinstance(name, int) else name}.json"

    def queue_logs(self, what: str) -> Path:
        """Parsl's logs of the queue that is used for labels or for training."""
        return self.root.resolve() / "parsl" / what

    def batch(self, name: BatchName) -> Path:
        """What was asked, and why."""
        return self._round(name, "batch.json")

    def outcome(self, name: BatchName) -> Path:
        """Which labels were accepted, which failed, and the errors on the new ones."""
        return self._round(name, "labels.json")

    def end(self, number: int) -> Path:
        """Validation and calibration: the file that ends a round."""
        return self._round(number, "done.json")

    def models(self, number: int) -> Path:
        """The committee that was trained in a round."""
        return self.root / "models" / _stem(number)

    @property
    def pretrained(self) -> Path:
        """The committee that has learned what [pretraining] names, which the first training goes on from."""
        return self.root / "models" / PRETRAINING

    @property
    def pretrained_whole(self) -> Path:
        """The committee that has learned whole energies, whose bodies `pretrained` has where it learns a difference."""
        return self.root / "models" / f"{PRETRAINING}-whole"

    @property
    def replay(self) -> Path:
        """What the pretrained members know, for trainings that replay it."""
        return self.pretrained / "replay.extxyz"

    @property
    def pretraining_facts(self) -> Path:
        """How the pretraining went: the file that ends it."""
        return self._round(PRETRAINING, "done.json")

    def pretraining_md(self, index: int) -> Path:
        """The frames of one trajectory that the cheap reference drove."""
        return self._round(PRETRAINING, f"md-{index:03d}.extxyz")

    def finished(self, number: int) -> Path:
        """The committee of a round, trained on until its errors no longer fall."""
        return self.root / "models" / f"{_stem(number)}{FINISHED}"

    def is_finished(self, committee: Path) -> bool:
        """Whether a committee's folder is one of `finished`."""
        return committee.name.endswith(FINISHED)

    def shard(self, number: int, walker: str) -> Path:
        """The snapshots of one walker in one round."""
        return self.snapshots / f"{_stem(number)}-{walker}.h5"

    def longer_shard(self, number: int, walker: str, piece: int = 1) -> Path:
        """What a walker visited in a final look beyond the steps of its round, piece by piece from 1 on."""
        return self.snapshots / f"longer{'' if piece == 1 else piece}-{_stem(number)}-{walker}.h5"

    def goes_farther(self, number: int) -> bool:
        """Whether walkers of a round have begun on what only a final look asks of them."""
        return any(self.snapshots.glob(f"longer*-{_stem(number)}-*.h5")) or any(self.walkers.glob("longer*.progress"))

    def shards(self, number: int | None = None) -> list[Path]:
        """The shards that are there, of one round or of all, in the order of their names."""
        try:
            there = sorted(self.snapshots.iterdir())  # glob passes over a folder that it may not read
        except FileNotFoundError:
            there = []
        shard_files = [path for path in there if _SHARD.fullmatch(path.name)]
        return shard_files if number is None else [p for p in shard_files if p.name.startswith(f"{_stem(number)}-")]

    def checkpoint(self, walker: str) -> Path:
        """The state of a walker within a round, to go on from."""
        return self.walkers / f"{walker}.h5"

    def steps_done(self, walker: str) -> Path:
        """A small text file, steps done so far: for the screen only, never read back as state."""
        return self.walkers / f"{walker}.progress"

    def label(self, name: str) -> Path:
        """The file of one label, by the label's name (structure hash, reference hash)."""
        return label_path(self.root, *name.split("-"))

    def failure(self, name: str) -> Path:
        """Why a label failed."""
        return self.quarantine / name / "reason.json"

    def _round(self, name: BatchName, file: str) -> Path:
        return self.root.joinpath("rounds", _stem(name) if isinstance(name, int) else name, file)


def _stem(number: int) -> str:
    return f"r{number:03d}"
