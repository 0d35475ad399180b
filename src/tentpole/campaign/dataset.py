"""The dataset as fingerprints: a mean row of each label, and the covariance of all rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ase import Atoms

from tentpole.campaign.batches import labels_of
from tentpole.records import FloatArray, Label

if TYPE_CHECKING:
    from tentpole.campaign.context import Context
    from tentpole.campaign.state import RoundState
    from tentpole.config.schema import CampaignConfig
    from tentpole.entropy import Covariance, Fingerprint
    from tentpole.selection.base import Labelled


def species_of(starts: Iterable[Atoms]) -> tuple[int, ...]:
    """The atomic numbers that the starting structures hold, in order."""
    return tuple(sorted({int(z) for atoms in starts for z in atoms.numbers}))


def fingerprint_rows(
    config: CampaignConfig, labels: Sequence[Label], starts: Iterable[Atoms] = (), models: Path | None = None
) -> tuple[Fingerprint, list[FloatArray]]:
    """Make the fingerprint of the campaign, and its rows of each label.

    `starts`: the starting structures, whose species have blocks where these are per species. `models`: the committee
    whose features are taken, where the campaign's fingerprint is "mace".
    """
    from tentpole.committee.cached import committee_in
    from tentpole.entropy import make_fingerprint

    settings = config.fingerprint.build()
    committee = committee_in(models, config.committee.dtype) if settings.kind == "mace" and models else None
    fingerprint = make_fingerprint(settings, species_of(starts), committee)
    return fingerprint, [fingerprint.fingerprints(label.atoms) for label in labels]


class GrowingDataset:
    """The dataset after each round, as rules see it, made once per driver: closed rounds never change.

    The last two rounds are kept, one of which is what walkers that run ahead know. What joins is read and added, in the
    order it joined; so a new driver comes to the same bits.
    """

    def __init__(self) -> None:
        self._kept: dict[int, Labelled] = {}

    def after(self, config: CampaignConfig, state: RoundState, starts: Iterable[Atoms], last: int) -> Labelled:
        """The dataset after round `last`, whose covariance is the caller's to change."""
        from tentpole.selection.base import Labelled, mean_rows

        begin = max((number for number in self._kept if number <= last), default=-1)
        labelled = self._kept.get(begin) or Labelled.of_rows([], (), covariance_of(config, []))
        for number in range(begin + 1, last + 1):
            labels = labels_of(state.paths, state.outcome(number))
            _, rows = fingerprint_rows(config, labels, starts)
            labelled = labelled.joined(mean_rows(rows), rows, state.conditions_in(number))
            self._kept[number] = labelled
            for old in sorted(self._kept)[:-2]:
                del self._kept[old]
        assert labelled.covariance is not None
        return replace(labelled, covariance=labelled.covariance.copy())


def known_dataset(context: Context, last: int, known: int) -> tuple[Fingerprint, Labelled]:
    """The campaign's fingerprint, by the committee made after round `known`, and the dataset after round `last`."""
    from tentpole.selection.base import Labelled

    config, state, starts = context.config, context.state, context.starts.values()
    if config.fingerprint.kind != "mace":
        fingerprint, _ = fingerprint_rows(config, [], starts)
        return fingerprint, context.dataset.after(config, state, starts, last)
    fingerprint, rows = fingerprint_rows(config, state.labels(last), starts, state.newest_models(known))
    return fingerprint, Labelled.of_rows(rows, state.conditions(last), covariance_of(config, rows))


def covariance_of(config: CampaignConfig, rows: Sequence[FloatArray]) -> Covariance:
    """The fingerprint covariance of a dataset, from the rows of its labels."""
    from tentpole.entropy import make_covariance

    return make_covariance(config.fingerprint.build(), rows)
