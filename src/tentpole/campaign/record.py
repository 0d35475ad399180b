"""What a campaign has done, read from its folder without touching it: rounds, labels, scores, errors, verdict, costs.

The public way to look at a campaign folder, finished or not, whether a driver works there or not. Nothing outside the
folder is looked at: the reference and the models' packages need not be there.
"""

from __future__ import annotations

import gc
import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase import Atoms

from tentpole.campaign.batches import (
    Batch,
    BatchRecord,
    Failure,
    Method,
    Request,
    failure_of,
    labels_of,
    read_end,
    read_outcome,
)
from tentpole.campaign.budget import Budget, budget
from tentpole.campaign.facts import (
    BatchFacts,
    CalibrationFacts,
    ErrorFacts,
    FrameError,
    PretrainingFacts,
    RoundEnd,
    RoundOutcome,
    Spread,
)
from tentpole.campaign.folder import baseline_of, setting_changes, stored_settings
from tentpole.campaign.forecast import Forecast, forecast
from tentpole.campaign.funnels import starving
from tentpole.campaign.journal_summary import read_journal
from tentpole.campaign.judging import final_look_size, finishing_comes, history, projection, tests
from tentpole.campaign.ledger import unwritten
from tentpole.campaign.paths import VALIDATION, BatchName, CampaignPaths
from tentpole.campaign.projection import Projection
from tentpole.campaign.settings_history import SettingsChange, SettingsHistory
from tentpole.campaign.state import RoundState
from tentpole.campaign.status_schema import VERSION as STATUS_VERSION
from tentpole.campaign.under_way import UnderWay, under_way
from tentpole.campaign.usage import Usage
from tentpole.campaign.verdict import Evidence, Round, Verdict
from tentpole.committee.prediction_limit import Coverage, pooled_coverage
from tentpole.config.schema import CampaignConfig
from tentpole.errors import import_object
from tentpole.exploration import Exploration
from tentpole.exploration.files import read_exploration
from tentpole.records import FloatArray, Label
from tentpole.storage.atomic import read_as
from tentpole.storage.labels import label_names
from tentpole.storage.lock import at_work, owner

__all__ = [
    "Batch",
    "BatchFacts",
    "Budget",
    "CalibrationFacts",
    "CampaignRecord",
    "ErrorFacts",
    "Evidence",
    "FrameError",
    "FrameRecord",
    "Request",
    "RoundEnd",
    "RoundOutcome",
    "RoundRecord",
    "Spread",
    "Usage",
    "Verdict",
]

Outcome = Literal["accepted", "failed", "waiting"]
Phase = Literal["not begun", "pretraining", "exploring", "labelling", "training", "judging", "done"]


@dataclass(frozen=True, slots=True)
class FrameRecord:
    """One structure that a label was asked for, and what became of it.

    round : 0 for the initial structures, "validation" for the fixed set. error : how far the committee that had not
    seen it was off, None where it was not judged. failure : why it has no label; folder : where its output is kept.
    label : the label's file where it was accepted.
    """

    request: Request
    round: BatchName
    outcome: Outcome
    error: FrameError | None = None
    failure: Failure | None = None
    folder: Path | None = None
    label: Path | None = None

    @property
    def condition(self) -> str:
        """Structure, temperature and pressure of its walker in words; "" for the initial and validation frames."""
        return "" if self.request.condition is None else str(self.request.condition)

    @property
    def force_rmse(self) -> float:
        """Force RMSE in eV/Å of the committee that had not seen it; NaN where it was not judged."""
        return math.nan if self.error is None else self.error.force_rmse


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """One round, or the validation set.

    name : the round's number, or "validation". asked_for : what was asked, without the structures. outcome : what came
    of it, None while it is not closed. end : validation and calibration, None while the round is not done.
    """

    name: BatchName
    asked_for: BatchRecord
    outcome: RoundOutcome | None
    end: RoundEnd | None
    state: RoundState = field(repr=False)

    @property
    def batch(self) -> Batch:
        """What was asked, with its structures: read when it is wanted."""
        return self.state.batch(self.name)

    @property
    def facts(self) -> BatchFacts:
        """How the batch came about: candidates, scores, resets, bias."""
        return self.asked_for.facts

    @property
    def asked(self) -> int:
        """Structures that a label was asked for."""
        return len(self.asked_for.frames)

    @property
    def labels(self) -> int:
        """Accepted labels; 0 while the round is not closed."""
        return 0 if self.outcome is None else len(self.outcome.accepted)

    @property
    def failed(self) -> int:
        """Structures without a label; 0 while the round is not closed."""
        return 0 if self.outcome is None else len(self.outcome.failed)

    @property
    def done(self) -> bool:
        """Whether its committee is trained and judged."""
        return self.end is not None

    @property
    def errors(self) -> ErrorFacts | None:
        """Errors on the new labels of the committee made before them; None where none was judged."""
        return None if self.outcome is None else self.outcome.errors

    def errors_with_pairs(self) -> ErrorFacts | None:
        """`errors` with the pairs of parity plots, read when they are wanted."""
        return None if self.outcome is None else read_outcome(self.state.paths, self.name).errors

    def validation_with_pairs(self) -> ErrorFacts | None:
        """`validation` with the pairs of parity plots, read when they are wanted."""
        return None if self.end is None else read_end(self.state.paths, int(self.name)).validation

    @property
    def coverage(self) -> float | None:
        """Share of the new frames within the error that the calibration of the round before promised."""
        return None if self.outcome is None else self.outcome.coverage

    @property
    def validation(self) -> ErrorFacts | None:
        """Errors on the validation set of the committee made after this round."""
        return None if self.end is None else self.end.validation

    @property
    def calibration(self) -> CalibrationFacts | None:
        """What the committee's σ is worth after this round."""
        return None if self.end is None else self.end.calibration

    @property
    def new_force_rmse(self) -> float | None:
        """Force RMSE in eV/Å on the new labels, before training on them."""
        return None if self.errors is None else self.errors.force_rmse

    @property
    def new_energy_rmse(self) -> float | None:
        """Energy RMSE in eV/atom on the new labels, before training on them."""
        return None if self.errors is None else self.errors.energy_rmse

    @property
    def new_stress_rmse(self) -> float | None:
        """Stress RMSE in GPa on the new labels, before training on them; None where none has a stress."""
        return None if self.errors is None else self.errors.stress_rmse

    @property
    def validation_stress_rmse(self) -> float | None:
        """Stress RMSE in GPa on the validation set, after training."""
        return None if self.validation is None else self.validation.stress_rmse

    @property
    def validation_force_rmse(self) -> float | None:
        """Force RMSE in eV/Å on the validation set, after training."""
        return None if self.validation is None else self.validation.force_rmse

    @property
    def validation_energy_rmse(self) -> float | None:
        """Energy RMSE in eV/atom on the validation set, after training."""
        return None if self.validation is None else self.validation.energy_rmse

    def to_json(self) -> dict[str, Any]:
        """For `tentpole status --json`."""
        facts = self.facts.to_json()
        spreads = ("force_std_chosen", "force_std_remaining", "gain_chosen", "gain_remaining")
        return {
            "round": self.name,
            "asked": self.asked,
            "labels": self.labels,
            "failed": self.failed,
            "done": self.done,
            "candidates": self.facts.candidates,
            "choice": self.facts.choice if self.name and self.facts.candidates else "",
            "mishaps": dict(self.facts.mishaps),
            **{name: facts.get(name, {}) for name in (*spreads, "bias_strength_eV")},
            "new_force_rmse": self.new_force_rmse,
            "new_energy_rmse": self.new_energy_rmse,
            "new_stress_rmse_GPa": self.new_stress_rmse,
            "validation_force_rmse": self.validation_force_rmse,
            "coverage": self.coverage,
            "calibration": {} if self.calibration is None else self.calibration.to_json(),
            "likeness": "" if self.validation is None else self.validation.likeness,
            "validation_energy_rmse": self.validation_energy_rmse,
            "validation_stress_rmse_GPa": self.validation_stress_rmse,
        }


@dataclass(frozen=True)
class CampaignRecord:
    """A campaign folder as it was when it was read. Make one with `CampaignRecord.read(folder)`.

    Parameters
    ----------
    paths : CampaignPaths
        Where its files are.
    config : CampaignConfig
        Its settings.
    settings : SettingsHistory
        Those of every round, where some have changed.
    state : RoundState
        What its files say of each round.
    rounds : tuple of RoundRecord
        From round 0, the initial labels.
    validation : RoundRecord or None
        The fixed set; None where there is none.
    verdict : Verdict or None
        How it ended; None while it goes on.
    usage, budget : Usage, Budget
        What was used, per phase and against the limits.
    driver : mapping or None
        Who holds the folder, or held it when it died.
    written : str
        Time of the journal's last event (UTC), "" for none.
    label_files : int
        Labels on disk.
    pretraining : PretrainingFacts or None
        How members were pretrained; None where they were not, or not yet.
    setting_changes : tuple of SettingsChange
        What changed of the settings that belong to rounds, in the order of rounds.

    Examples
    --------
    >>> from tentpole import CampaignRecord
    >>> CampaignRecord.read("no/such/folder")
    Traceback (most recent call last):
        ...
    tentpole.errors.StateError: no/such/folder: ...
    """

    paths: CampaignPaths
    config: CampaignConfig
    settings: SettingsHistory
    state: RoundState
    rounds: tuple[RoundRecord, ...]
    validation: RoundRecord | None
    verdict: Verdict | None
    usage: Usage
    budget: Budget
    driver: Mapping[str, object] | None
    written: str
    label_files: int
    pretraining: PretrainingFacts | None = None
    setting_changes: tuple[SettingsChange, ...] = ()

    def gain(self, atoms: Atoms, known: Sequence[Atoms], number: int) -> float:
        """Log-det gain that a structure would bring to a dataset, as a round saw it.

        Parameters
        ----------
        atoms : ase.Atoms
            The structure.
        known : sequence of ase.Atoms
            The dataset.
        number : int
            The round, whose committee gives the features where they are learned.

        Returns
        -------
        float
        """
        from tentpole.campaign.dataset import covariance_of, fingerprint_rows

        learned = self.config.fingerprint.kind == "mace"
        models = self.state.newest_models(number - 1) if learned else None
        fingerprint, _ = fingerprint_rows(self.config, [], [*known, atoms], models)
        covariance = covariance_of(self.config, [fingerprint.fingerprints(one) for one in known])
        return float(covariance.gain(fingerprint.fingerprints(atoms)))

    def show(self) -> Any:
        """Write the report page and return it for a notebook to display; needs the extra "report".

        Returns
        -------
        object
            Jupyter shows it as the page.
        """
        return import_object("tentpole.report:show")(self.folder)

    def _repr_html_(self) -> str:
        from tentpole.campaign.notebook import record_html

        return record_html(self)

    def features(self, frames: Sequence[Atoms]) -> FloatArray:
        """Mean fingerprint of each frame, by the campaign's fingerprint and its newest committee.

        Parameters
        ----------
        frames : sequence of Atoms

        Returns
        -------
        (n, d) array
        """
        from tentpole.campaign.dataset import fingerprint_rows

        learned = self.config.fingerprint.kind == "mace"
        models = self.state.newest_models(self.state.current) if learned else None
        fingerprint, _ = fingerprint_rows(self.config, [], list(frames), models)
        return np.array([fingerprint.fingerprints(atoms).mean(axis=0) for atoms in frames])

    @staticmethod
    def read(folder: Path | str) -> CampaignRecord:
        """Read the campaign in `folder`.

        Parameters
        ----------
        folder : path
            It may be finished or not, and a driver may be working there.

        Returns
        -------
        CampaignRecord

        Raises
        ------
        StateError
            For what is no campaign folder, or is damaged.
        """
        with _uncollected():
            return _read(CampaignPaths(Path(folder)))

    @property
    def folder(self) -> Path:
        """The campaign folder."""
        return self.paths.root

    @property
    def reference_hash(self) -> str:
        """The hash of the reference that labels; "" where nothing tells it yet."""
        return self.state.method.reference

    @property
    def labels(self) -> int:
        """Accepted labels of the rounds that are closed; the validation set is not counted."""
        return sum(one.labels for one in self.rounds)

    @property
    def failed_labels(self) -> int:
        """Structures of closed rounds that have no label."""
        return sum(one.failed for one in self.rounds)

    @property
    def validation_labels(self) -> int:
        """Labels of the validation set; 0 while it is not closed."""
        return 0 if self.validation is None else self.validation.labels

    @property
    def validation_errors(self) -> tuple[float, ...]:
        """Force RMSE in eV/Å on the validation set, of each committee that was judged there."""
        return tuple(e for one in self.rounds if (e := one.validation_force_rmse) is not None)

    @property
    def phase(self) -> Phase:
        """What comes next, from the files of the round under way."""
        state = self.state
        number = state.current
        if self.verdict is not None:
            return "done"
        if not state.is_decided(number):
            begun: Phase = (
                "pretraining" if self.config.pretraining is not None and self.pretraining is None else "not begun"
            )
            return "exploring" if number else begun
        if not state.is_closed(number):
            return "labelling"
        return "judging" if state.is_trained(number) else "training"

    @property
    def running(self) -> bool:
        """Whether a driver is at work on it, as far as can be told from this host."""
        return at_work(self.folder)

    @property
    def baseline(self) -> str | None:
        """By which word or file the members' baseline is loaded; None without one."""
        return baseline_of(self.config, self.folder)

    @cached_property
    def under_way(self) -> UnderWay:
        """The step that comes next, or runs, and how much of it is done."""
        return under_way(self.state, self.settings.at(self.state.current))

    @cached_property
    def _history(self) -> list[Round]:
        with _uncollected():
            return history(self.state)

    @cached_property
    def forecast(self) -> Forecast | None:
        """How long the round under way and the rest will take; None where that is not known or there is a verdict."""
        if self.verdict is not None:
            return None
        config = self.settings.at(self.state.current)
        finishing = finishing_comes(self._history, self.state, config)
        look = final_look_size(self._history, config) or 0
        return forecast(self.state, self.config, self.usage, finishing=finishing, look=look)

    @property
    def starving(self) -> str:
        """The key of the rule that left most of the last batches empty, and what to change; "" for none."""
        return starving([one.facts for one in self.rounds if one.name], self.config)

    @cached_property
    def frames(self) -> tuple[FrameRecord, ...]:
        """All that was asked for so far: round 0, the validation set, then the rounds, each in batch order."""
        validation = [] if self.validation is None else [self.validation]
        return tuple(
            frame for one in [*self.rounds[:1], *validation, *self.rounds[1:]] for frame in _frames(self.paths, one)
        )

    @property
    def tests(self) -> tuple[Evidence, ...]:
        """The tests of convergence: the verdict's, or on the rounds that are done."""
        return tests(self._history, self.config) if self.verdict is None else self.verdict.evidence

    @property
    def projection(self) -> Projection | None:
        """Labels still to come before the target is likely to be met; None where that cannot be said yet."""
        return projection(self._history, self.config)

    @property
    def kept_promises(self) -> Coverage:
        """Over all rounds, audit frames whose error was within what had been promised before they were labelled."""
        counts = [one.outcome.covered for one in self.rounds if one.outcome is not None]
        within = [k < good for good, frames in filter(None, counts) for k in range(frames)]
        return pooled_coverage(within)

    def dataset(self) -> list[Label]:
        """The labels of all closed rounds.

        Returns
        -------
        list of Label
            In the order they joined.
        """
        outcomes = (one.outcome for one in self.rounds)
        return [label for outcome in outcomes if outcome is not None for label in labels_of(self.paths, outcome)]

    def exploration(self, number: int, walker: str) -> Exploration | None:
        """What one walker found in one round, with scores.

        Parameters
        ----------
        number : int
            The round.
        walker : str
            Its id.

        Returns
        -------
        Exploration or None
            None where it has not come to that round's end.
        """
        path = self.paths.shard(number, walker)
        return self._whole(number, read_exploration(path)) if path.exists() else None

    def explorations(self, number: int) -> dict[str, Exploration]:
        """What all walkers that came to the end of a round found in it.

        Parameters
        ----------
        number : int
            The round.

        Returns
        -------
        dict of str to Exploration
            By walker.
        """
        shards = [self._whole(number, read_exploration(path)) for path in self.paths.shards(number)]
        return {shard.walker.id: shard for shard in shards}

    def _whole(self, number: int, shard: Exploration) -> Exploration:
        """With what the walker visited beyond, where the round is a final look."""
        for piece in itertools.count(1):
            longer = self.paths.longer_shard(number, shard.walker.id, piece)
            if not longer.exists():
                break
            shard = shard.followed_by(read_exploration(longer))
        return shard

    def to_json(self) -> dict[str, Any]:
        """For `tentpole status --json`: as `status_schema.CampaignStatus` says.

        Returns
        -------
        dict
            Plain values.
        """
        seconds = self.usage.shares
        total = sum(seconds.values())
        return {
            "version": STATUS_VERSION,
            "name": self.config.name,
            "folder": str(self.folder),
            "reference": self.config.reference,
            "rounds": [one.to_json() for one in self.rounds],
            "labels": self.labels,
            "validation_labels": self.validation_labels,
            "label_files": self.label_files,
            "pretraining": None if self.pretraining is None else asdict(self.pretraining),
            "failed_labels": self.failed_labels,
            "limits": self.config.stop.model_dump(exclude_none=True),
            "target_force_error_eV_per_A": self.config.target.force_error_eV_per_A,
            "hours": self.usage.hours,
            "budget": self.budget.to_json(),
            "seconds": {name: round(value, 1) for name, value in seconds.items()},
            "engine_share": seconds["engine"] / total if total else 0.0,
            "driver": None if self.driver is None else dict(self.driver),
            "running": self.running,
            "under_way": self.under_way.to_json() if self.verdict is None else None,
            "forecast": None if self.forecast is None else self.forecast.to_json(),
            "starving": self.starving,
            "setting_changes": [
                {"from_round": one.from_round, "changes": list(one.changes)} for one in self.setting_changes
            ],
            "verdict": None if self.verdict is None else self.verdict.to_json(),
        }


def _read(paths: CampaignPaths) -> CampaignRecord:
    config = stored_settings(paths.root)
    past, labels = read_journal(paths), label_names(paths.root)
    usage = past.usage
    method = Method(past.reference or _reference_of(paths, labels), config.charge, config.multiplicity)
    state = RoundState(paths, method, config.validation.kind != "none", keep_batches=True)
    rounds: list[RoundRecord] = []
    while state.is_decided(len(rounds)):
        rounds.append(_round(state, len(rounds)))
    done = next((n for n, one in enumerate(rounds) if not one.done), len(rounds))
    limits = config.stop.model_dump()
    return CampaignRecord(
        paths=paths,
        config=config,
        settings=SettingsHistory.of(config, past.settings, paths),
        state=state,
        rounds=tuple(rounds),
        validation=_round(state, VALIDATION) if state.is_decided(VALIDATION) else None,
        verdict=state.verdict,
        usage=usage,
        budget=budget(limits, [one.labels for one in rounds], done, usage, unwritten(paths, usage.counted)),
        driver=owner(paths.root),
        written=past.written,
        label_files=len(labels),
        pretraining=read_pretraining(paths),
        setting_changes=setting_changes(paths, past.settings),
    )


@contextmanager
def _uncollected() -> Iterator[None]:
    """No search for cycles meanwhile: it goes through 10⁵ labels' records again and again, a quarter of the time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def read_pretraining(paths: CampaignPaths) -> PretrainingFacts | None:
    """How the pretraining of a campaign went; None where there was none, or it is not done."""
    path = paths.pretraining_facts
    return read_as(path, PretrainingFacts.from_json) if path.exists() else None


def _round(state: RoundState, name: BatchName) -> RoundRecord:
    outcome = state.outcome(name) if state.is_closed(name) else None
    done = isinstance(name, int) and state.paths.end(name).exists()
    return RoundRecord(name, state.record(name), outcome, state.end(int(name)) if done else None, state)


def _frames(paths: CampaignPaths, one: RoundRecord) -> list[FrameRecord]:
    errors: Mapping[str, FrameError] = {} if one.errors is None else one.errors.frames
    records = []
    for request in one.batch.requests:
        name = request.name
        frame = FrameRecord(request, one.name, "waiting", errors.get(name))
        if paths.label(name).exists():
            frame = replace(frame, outcome="accepted", label=paths.label(name))
        elif (failure := failure_of(paths, name)) is not None:
            frame = replace(frame, outcome="failed", failure=failure, folder=paths.failure(name).parent)
        records.append(frame)
    return records


def _reference_of(paths: CampaignPaths, labels: Collection[str]) -> str:
    """The reference's hash in folders whose journal does not tell it: from what was accepted or failed."""
    if paths.outcome(0).exists():
        names = read_as(paths.outcome(0), lambda content: [*content["accepted"], *content["failed"]])
    else:
        names = [path.name for path in paths.quarantine.glob("*-*")]
    names += sorted(labels)
    return next((name.partition("-")[2] for name in names), "")
