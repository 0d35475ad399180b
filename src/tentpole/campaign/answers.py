"""Labels asked of workers, and what became of them put on record: costs counted, failures in quarantine and told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tentpole.campaign.batches import Failure, Request, failure_of
from tentpole.campaign.context import Context
from tentpole.storage.labels import quarantine, read_label

if TYPE_CHECKING:
    from tentpole.labeling import Outcome, Task
    from tentpole.labeling.references import Reference


def label_tasks(
    context: Context, reference: Reference, requests: Sequence[Request], *, persistent: bool = False
) -> list[Task]:
    """What workers are to label, within the executor's limits."""
    from tentpole.labeling import Task

    limits = context.config.executor
    return [
        Task(
            context.root.resolve(),  # a worker elsewhere has another current folder
            reference,
            request.atoms,
            request.charge,
            request.multiplicity,
            limits.label_time_limit_s,
            limits.label_memory_limit_GB,
            persistent,
            root_exists=True,
        )
        for request in requests
    ]


def count_outcome(context: Context, outcome: Outcome, requests: Mapping[str, Request]) -> None:
    """Count what a worker made of one label; `requests` are those that were asked for, by name."""
    if outcome.ok and outcome.computed:
        context.ledger.computed(outcome.name, outcome.seconds, outcome.core_seconds)
    elif outcome.ok:
        context.ledger.label(read_label(context.paths.label(outcome.name)))
    else:
        failure = Failure(outcome.name, outcome.reason, outcome.message)
        note_failure(context, requests[outcome.name], failure, outcome.core_seconds)


def note_failure(context: Context, request: Request, failure: Failure, core_seconds: float = 0.0) -> None:
    """Put on record that a structure gets no label, where its worker has not done so."""
    if failure_of(context.paths, failure.name) is None:
        quarantine(context.root, failure.name, failure.reason, failure.message, request.atoms)
    context.ledger.failed(failure.name, failure.reason, core_seconds)
    context.progress.note(f"no label for {failure.name[:12]}…: {failure.reason}: {failure.message[:200]}")
