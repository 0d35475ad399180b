"""The dataset as fingerprints: rows of each label, and their covariance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ase import Atoms

from tentpole.records import FloatArray, Label

if TYPE_CHECKING:
    from tentpole.campaign.context import Context
    from tentpole.config.schema import CampaignConfig
    from tentpole.entropy import Covariance, Fingerprint


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


def known_fingerprints(context: Context, last: int, known: int) -> tuple[Fingerprint, list[FloatArray]]:
    """The campaign's fingerprint and its rows of the labels up to round `last`.

    Features of a committee are those of the one made after round `known`.
    """
    state = context.state
    return fingerprint_rows(context.config, state.labels(last), context.starts.values(), state.newest_models(known))


def covariance_of(config: CampaignConfig, rows: Sequence[FloatArray]) -> Covariance:
    """The fingerprint covariance of a dataset, from the rows of its labels."""
    from tentpole.entropy import make_covariance

    return make_covariance(config.fingerprint.build(), rows)
