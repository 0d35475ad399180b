"""Structures whose labelling was given up, to be tried again: the machine was at fault, and has been mended."""

from __future__ import annotations

from pathlib import Path

from tentpole.campaign.batches import read_outcome
from tentpole.campaign.folder import stored_config
from tentpole.campaign.paths import PRETRAINING, VALIDATION, BatchName, CampaignPaths
from tentpole.committee.committee_files import is_whole
from tentpole.errors import unknown
from tentpole.storage.journal import Journal
from tentpole.storage.labels import quarantined, release
from tentpole.storage.lock import Lock


def retry_failed(root: Path, reason: str | None = None) -> tuple[list[str], list[tuple[str, str]]]:
    """Take what failed out of quarantine where its round still waits for labels; the next run labels it again.

    Parameters
    ----------
    root
        A campaign's folder that no driver works in.
    reason
        Only those that failed for this reason; None: all.

    Returns
    -------
    retried
        Names of the labels that will be tried again.
    too_late
        Names of those that will not, each with the reason in words: models were trained without them.

    Raises
    ------
    InputError
        Where nothing in quarantine has that reason.
    StateError
        Where a driver works in the folder, or it is no campaign's.
    """
    stored_config(root)
    paths = CampaignPaths(root)
    with Lock(root), Journal(paths.journal) as journal:
        failed = dict(quarantined(root))
        if reason is not None and reason not in failed.values():
            raise unknown("reason", reason, set(failed.values()), where=f"{paths.quarantine}")
        wanted = [name for name, why in failed.items() if reason in (None, why)]
        _reopen(paths, set(wanted))
        closed = _closed(paths)
        too_late = [(name, closed[name]) for name in wanted if name in closed]
        retried = [name for name in wanted if name not in closed]
        for name in retried:
            release(root, name)
        journal.append("retry", names=retried, reason=reason)
    return retried, too_late


def _reopen(paths: CampaignPaths, failed: set[str]) -> None:
    """Open the first labels and the validation set again where they lack one of these and nothing was trained yet."""
    if is_whole(paths.models(0)):
        return
    for name in (0, VALIDATION):
        if paths.outcome(name).exists() and failed & set(read_outcome(paths, name).failed):
            paths.outcome(name).unlink()


def _closed(paths: CampaignPaths) -> dict[str, str]:
    """The failures of batches that are closed, with why they stay as they are."""
    outcomes: dict[str, str] = {}
    names: list[BatchName] = [VALIDATION]
    while paths.outcome(len(names) - 1).exists():
        names.append(len(names) - 1)
    for name in [*names, PRETRAINING]:
        if paths.outcome(name).exists():
            where = f"round {name}" if isinstance(name, int) else f"the {name} set"
            words = f"{where} is closed: what follows was made without this label, and would not be the same with it."
            outcomes |= dict.fromkeys(read_outcome(paths, name).failed, words)
    return outcomes
