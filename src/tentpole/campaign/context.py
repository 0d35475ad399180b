"""What every step of a campaign works with: its settings, its folder, its reference, its workers."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ase import Atoms

from tentpole.campaign import batches
from tentpole.campaign.folder import CAMPAIGN_FILE
from tentpole.committee.foundation_models import check_species
from tentpole.config.loading import starting_structures
from tentpole.config.schema import CampaignConfig, LocalSection, LocalTrainingSection
from tentpole.errors import InputError
from tentpole.execution import queues
from tentpole.execution.pools import Workers
from tentpole.labeling import references
from tentpole.labeling.references import Reference
from tentpole.progress import Watcher
from tentpole.storage.journal import Journal


@dataclass(frozen=True, slots=True)
class Context:
    """One campaign under one driver. `starts` are the starting structures by name."""

    config: CampaignConfig
    root: Path
    journal: Journal
    watch: Watcher
    reference: Reference
    starts: dict[str, Atoms]
    workers: Workers

    def note_phase(self, phase: str, seconds: float, round: int | None = None) -> None:
        """Write down where time went; see usage.py."""
        self.journal.append("phase", phase=phase, round=round, seconds=float(f"{seconds:.3f}"))


def open_context(config: CampaignConfig, root: Path, journal: Journal, watch: Watcher) -> Context:
    """The context of a campaign whose configuration has been checked."""
    starts = starting_structures(config, root / CAMPAIGN_FILE)
    elements = sorted({symbol for atoms in starts.values() for symbol in atoms.get_chemical_symbols()})
    for name in config.committee.foundations:
        check_species(name, [z for atoms in starts.values() for z in atoms.numbers])
    reference = references.load(config.reference, elements)
    _refuse_other_physics(root, reference)
    return Context(config, root, journal, watch, reference, starts, workers_of(config, root))


def _refuse_other_physics(root: Path, reference: Reference) -> None:
    """Raises InputError where the folder's labels are of another reference hash: they would mix with new ones."""
    accepted = batches.read_closed(root, 0)["accepted"] if batches.is_closed(root, 0) else []
    before = {name.partition("-")[2] for name in accepted}
    if before - {reference.hash}:
        raise InputError(
            f'{root}: its labels are of reference {", ".join(sorted(before))}, but "{reference.name}" is '
            f"{reference.hash} now: its parameters, potentials or program version have changed. Labels of different "
            "physics never train one model: restore what changed, or start another campaign with another --dir."
        )


def workers_of(config: CampaignConfig, root: Path) -> Workers:
    """Local processes for MD and models, and the campaign's own places for labels and for training."""
    labels, training = config.executor, config.training_executor
    return Workers(
        labels.workers if isinstance(labels, LocalSection) else 0,
        None if isinstance(labels, LocalSection) else partial(_elsewhere, labels, root, "labels"),
        None if isinstance(training, LocalTrainingSection) else partial(_elsewhere, training, root, "training"),
    )


def _elsewhere(section: Any, root: Path, what: str) -> Executor:
    if section.kind == "parsl":
        return queues.ClusterExecutor(queues.load_config(section.config), section.label)
    return queues.cluster(section.build(), root.resolve() / "parsl" / what, what)
