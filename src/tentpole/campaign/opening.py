"""Opening a campaign for a driver: the folder's lock, its settings, its journal, its reference, its workers."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ase import Atoms

from tentpole.campaign.batches import Method
from tentpole.campaign.context import Context, workers_of
from tentpole.campaign.folder import (
    FolderIdentity,
    adopt_reference,
    changes_of_rounds,
    locate,
    refuse_edited_structures,
    refuse_edits,
    settings_hash,
    settings_to_record,
    settle,
    structure_files,
)
from tentpole.campaign.journal_summary import JournalSummary, keep_summary, read_journal
from tentpole.campaign.ledger import Ledger
from tentpole.campaign.paths import PRETRAINING, CampaignPaths
from tentpole.campaign.settings_history import SettingsHistory
from tentpole.campaign.state import FEWEST_LABELS, RoundState
from tentpole.campaign.unrecorded import refuse_contradictions
from tentpole.committee.foundation_models import check_species
from tentpole.config.loading import starting_structures
from tentpole.config.schema import CampaignConfig
from tentpole.errors import InputError, StateError
from tentpole.execution.metering import metered
from tentpole.execution.provenance import differences, provenance
from tentpole.labeling import references
from tentpole.labeling.references import Reference
from tentpole.progress import NoProgress, ProgressListener
from tentpole.storage.journal import Journal
from tentpole.storage.lock import Lock


@dataclass(frozen=True, slots=True)
class Opened:
    """A campaign that a driver holds: what its steps work with, and the lock and the meter to give back."""

    context: Context
    lock: Lock
    meter: ExitStack


def open_campaign(
    source: CampaignConfig | Path | str, folder: Path | str | None, progress: ProgressListener | None
) -> Opened:
    """Take a campaign folder, new or old, for one driver; arguments and errors are those of `Campaign`."""
    given, root = locate(source, folder)
    lock, meter = Lock(root), ExitStack()
    try:
        context = _context(given, CampaignPaths(root), progress or NoProgress())
        meter.enter_context(metered(root, context.ledger.driver))
        return Opened(context, lock, meter)
    except BaseException:
        lock.release()
        raise


def refuse_hopeless(state: RoundState) -> None:
    """Raises StateError where round 0 is closed with fewer labels than a committee can be made of."""
    if state.is_hopeless:
        accepted, asked = len(state.outcome(0).accepted), state.batch(0).asked
        raise StateError(
            f"{state.paths.root}: {accepted} of {asked} initial labels were accepted, and a "
            f"committee needs at least {FEWEST_LABELS}. Why they failed: {state.paths.quarantine}. Where the machine "
            f"was at fault: tentpole retry {state.paths.root}, then tentpole run. Else correct the reference or the "
            "initial structures, and start again in another folder."
        )


def _context(given: CampaignConfig | None, paths: CampaignPaths, progress: ProgressListener) -> Context:
    config = settle(given, paths)
    starts = starting_structures(config, paths.campaign_file)
    elements = sorted({symbol for atoms in starts.values() for symbol in atoms.get_chemical_symbols()})
    for name in config.committee.foundations:
        check_species(name, [z for atoms in starts.values() for z in atoms.numbers])
    reference = references.load(config.reference, elements)
    method = Method(reference.hash, config.charge, config.multiplicity)
    state = RoundState(paths, method, config.validation.kind != "none", summarises=True)
    refuse_hopeless(state)
    _refuse_other_physics(state, reference)
    config = adopt_reference(config, paths)
    journal = Journal(paths.journal)
    try:
        past = read_journal(paths)
        settings = settings_to_record(config, paths.root)
        if past.settings:
            refuse_edits(paths, past.settings[-1][1], settings)
            _refuse_new_elements(paths, starts, len(past.settings[0][1]["structures"]))
        else:
            refuse_contradictions(paths, config, state, starts)
        structures = structure_files(config)
        refuse_edited_structures(paths, past.structures, structures)
        facts = {"reference": reference.hash, "config": settings_hash(settings), "structures": structures}
        ledger = Ledger(paths, journal, past.usage, **facts, made_by=provenance())
        _say_what_is_another(journal, progress, past.made_by)
        _keep_settings(past, settings, state, journal, progress)
        history = SettingsHistory.of(config, past.settings, paths)
        keep_summary(paths)
    except BaseException:
        journal.close()
        raise
    return Context(
        config=config,
        paths=paths,
        folder=FolderIdentity.of(paths.root),
        journal=journal,
        progress=progress,
        reference=reference,
        starts=starts,
        workers=workers_of(config, paths),
        state=state,
        ledger=ledger,
        settings=history,
    )


def _keep_settings(
    past: JournalSummary, settings: dict[str, Any], state: RoundState, journal: Journal, progress: ProgressListener
) -> None:
    """Write down what differs from the last driver's settings; what belongs to rounds, with the round from which."""
    facts: dict[str, Any] = {"settings": settings}
    if past.settings and (changes := changes_of_rounds(state.paths, past.settings[-1][1], settings)):
        facts["from_round"] = first = _first_to_come(state, settings["explore"]["ahead"])
        progress.note(f"from round {first} on: {'; '.join(changes)}")
    if not past.settings or past.settings[-1][1] != settings:
        journal.append("settings", **facts)
        past.take_settings(facts)


def _first_to_come(state: RoundState, ahead: bool) -> int:
    """The first round of which nothing is there yet."""
    paths, number = state.paths, state.current
    if number == 0 and (paths.batch(PRETRAINING).exists() or paths.pretraining_md(0).exists()):
        return 1
    begun = state.is_decided(number)
    while state.is_decided(number) or (number and paths.shards(number)):
        begun, number = bool(number), number + 1
    checkpoints = paths.walkers.is_dir() and any(path.suffix == ".h5" for path in paths.walkers.iterdir())
    return number + (checkpoints and (ahead or not begun))


def _refuse_new_elements(paths: CampaignPaths, starts: dict[str, Atoms], first: int) -> None:
    """Raises InputError where a structure joins with an element that no member knows; the `first` ones did not join."""
    names = list(starts)
    known = {symbol for name in names[:first] for symbol in starts[name].get_chemical_symbols()}
    for name in names[first:]:
        if new := sorted(set(starts[name].get_chemical_symbols()) - known):
            raise InputError(
                f'{paths.campaign_file}: structure "{name}" brings {", ".join(new)}, which no member knows. '
                "Start another campaign with all structures; its labels are kept: tentpole run NEW.toml --labels-from "
                f"{paths.root}"
            )


def _say_what_is_another(journal: Journal, progress: ProgressListener, before: dict[str, str]) -> None:
    """Say where the campaign goes on with other versions or on another processor than before."""
    words = differences(before, provenance()) if before else ""
    if words:
        journal.append("other environment", changed=words)
        progress.note(f"goes on with {words}: the same to the last bits it need not come out")


def _refuse_other_physics(state: RoundState, reference: Reference) -> None:
    """Raises InputError where the folder's labels are of another reference hash: they would mix with new ones."""
    accepted = state.outcome(0).accepted if state.is_closed(0) else ()
    before = {name.partition("-")[2] for name in accepted}
    if before - {reference.hash}:
        raise InputError(
            f'{state.paths.root}: its labels are of reference {", ".join(sorted(before))}, but "{reference.name}" is '
            f"{reference.hash} now: its parameters, potentials or program version have changed. Labels of different "
            "physics never train one model: restore what changed, or start another campaign with another --dir."
        )
