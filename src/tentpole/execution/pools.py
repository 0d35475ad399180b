"""The driver's worker processes, and jobs in them that end when the driver dies."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from concurrent.futures import wait as wait_for
from pathlib import Path
from typing import Any, TypeVar

from tentpole.execution.local import LocalExecutor, local
from tentpole.execution.starting import import_ahead
from tentpole.execution.worker import watched

T = TypeVar("T")
ATTEMPTS = 3
"""At MD, a scoring or an evaluation whose worker dies."""


class Workers:
    """Local processes, and other executors for labels and for training.

    `processes` start on first use; 0: as many as this process may use cores. `label_elsewhere` and `train_elsewhere`
    make the others, a queue's. `imports` names a module that local processes find imported, see `starting`.
    """

    def __init__(
        self,
        processes: int = 0,
        label_elsewhere: Callable[[], Executor] | None = None,
        train_elsewhere: Callable[[], Executor] | None = None,
        imports: str = "",
    ) -> None:
        self.processes = processes or len(os.sched_getaffinity(0))
        self._imports = imports
        self._executor: LocalExecutor | None = None
        self._label_elsewhere, self._train_elsewhere = label_elsewhere, train_elsewhere
        self._labels: Executor | None = None
        self._training: Executor | None = None

    @property
    def labels(self) -> Executor:
        """Where labels are computed."""
        if self._label_elsewhere is None:
            return self.executor
        if self._labels is None:
            self._labels = self._label_elsewhere()
        return self._labels

    @property
    def training(self) -> Executor | None:
        """Where members are trained; None is here, by the training process."""
        if self._training is None and self._train_elsewhere is not None:
            self._training = self._train_elsewhere()
        return self._training

    @property
    def executor(self) -> LocalExecutor:
        """Started where it was not."""
        if self._executor is None:
            self.prepare()
            self._executor = local(self.processes)
        return self._executor

    def prepare(self) -> None:
        """Begin to import, in the background, what these processes will need."""
        if self._imports:
            import_ahead(self._imports)

    def submit(self, function: Callable[[Any], T], jobs: Sequence[Any], root: Path) -> list[Future[T]]:
        """One call per job, at most `processes` at a time; begun again where its worker dies, ATTEMPTS times in all."""
        return [self.executor.submit_lasting(ATTEMPTS, guarded, root, function, job) for job in jobs]

    def run(self, function: Callable[..., T], *arguments: Any, root: Path) -> T:
        """One call, awaited."""
        return self.executor.submit_lasting(ATTEMPTS, guarded, root, function, *arguments).result()

    @staticmethod
    def wait(futures: Sequence[Future[Any]], seconds: float) -> bool:
        """Wait at most `seconds`; True once all are done."""
        return not wait_for(futures, timeout=seconds).not_done

    def close(self, *, at_once: bool = False) -> None:
        """Let the workers end; at once, in the middle of their jobs: the next driver does those again."""
        for executor in (self._executor, self._labels, self._training):
            if executor is not None:
                executor.shutdown(wait=True, cancel_futures=at_once)
        self._executor = self._labels = self._training = None


def guarded(root: Path, function: Callable[..., T], *arguments: Any) -> T:
    """The call, in a worker that ends itself when its driver is gone: no orphan works on a folder."""
    with watched(root, None, None):
        return function(*arguments)
