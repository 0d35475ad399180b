"""What every step of a campaign works with: its settings, its folder, its reference, its workers."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from ase import Atoms

from tentpole.campaign.dataset import GrowingDataset
from tentpole.campaign.folder import FolderIdentity
from tentpole.campaign.ledger import Ledger
from tentpole.campaign.paths import CampaignPaths
from tentpole.campaign.settings_history import SettingsHistory
from tentpole.campaign.state import RoundState
from tentpole.config.schema import CampaignConfig, LocalSection, LocalTrainingSection
from tentpole.execution import queues
from tentpole.execution.pools import Workers
from tentpole.labeling.references import Reference
from tentpole.progress import ProgressListener
from tentpole.storage.atomic import write_json
from tentpole.storage.journal import Journal


@dataclass(frozen=True, slots=True)
class Context:
    """One campaign under one driver.

    starts : the starting structures by name. folder : tells whether the campaign folder is still the one that the
    driver was started on. settings : those of every round; config holds the newest, or those of the round that `at` was
    asked for. dataset : what is labelled, as fingerprints.
    """

    config: CampaignConfig
    paths: CampaignPaths
    folder: FolderIdentity
    journal: Journal
    progress: ProgressListener
    reference: Reference
    starts: dict[str, Atoms]
    workers: Workers
    state: RoundState
    ledger: Ledger
    settings: SettingsHistory
    dataset: GrowingDataset = field(default_factory=GrowingDataset, repr=False)

    def at(self, number: int) -> Context:
        """The same with the settings and the structures of a round."""
        config = self.settings.at(number)
        starts = {section.name: self.starts[section.name] for section in config.structures}
        return replace(self, config=config, starts=starts)

    @property
    def root(self) -> Path:
        """The campaign folder."""
        return self.paths.root

    def write(self, path: Path, content: dict[str, Any]) -> None:
        """Write a file of the campaign; not where the folder was moved or removed meanwhile."""
        self.folder.check()
        write_json(path, content)

    def note_phase(self, phase: str, seconds: float, number: int | None = None) -> None:
        """Write down where time went in a round; see usage.py."""
        self.ledger.phase(phase, seconds, number)


def workers_of(config: CampaignConfig, paths: CampaignPaths) -> Workers:
    """Local processes for MD and models, and the campaign's own places for labels and for training."""
    labels, training = config.executor, config.training_executor
    return Workers(
        labels.workers if isinstance(labels, LocalSection) else 0,
        None if isinstance(labels, LocalSection) else partial(_elsewhere, labels, paths, "labels"),
        None if isinstance(training, LocalTrainingSection) else partial(_elsewhere, training, paths, "training"),
        imports="tentpole.campaign.imported_ahead",
    )


def _elsewhere(section: Any, paths: CampaignPaths, what: str) -> Executor:
    if section.kind == "parsl":
        return queues.ClusterExecutor(queues.load_config(section.config), section.label)
    return queues.cluster(section.build(), paths.queue_logs(what), what)
