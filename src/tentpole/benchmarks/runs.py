"""Runs of a study in worker processes side by side, each with a log of its own."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tentpole.errors import TentpoleError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tentpole.execution.pools import Workers

J = TypeVar("J")
LOG = "run.log"
POLL_S = 0.5


def do_all(
    hired: Workers, work: Callable[[J], None], jobs: Sequence[J], root: Path, look: Callable[[], None]
) -> list[tuple[J, BaseException]]:
    """Each of the jobs in a worker. `look` is called now and then, the last time after all have ended.

    Returns those that failed, with their errors, when the others have ended.
    """
    futures = hired.submit(work, jobs, root)
    under_way = True
    while under_way:
        under_way = not hired.wait(futures, POLL_S)  # before looking: what was written last is seen
        look()
    ended = [(job, future.exception()) for job, future in zip(jobs, futures, strict=True)]
    return [(job, error) for job, error in ended if error is not None]


def do_here(work: Callable[[J], None], jobs: Sequence[J], look: Callable[[], None]) -> list[tuple[J, BaseException]]:
    """As `do_all`, one job after the other in this process, which has imported by then what they need."""
    failed: list[tuple[J, BaseException]] = []
    for job in jobs:
        try:
            work(job)
        except Exception as error:
            failed.append((job, error))
        look()
    return failed


@contextmanager
def logged(place: Path) -> Iterator[None]:
    """Have what is printed inside, and how it failed, in `place`/run.log. Raises TentpoleError for any error."""
    place.mkdir(parents=True, exist_ok=True)
    with (place / LOG).open("a", encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
        try:
            yield
        except Exception as error:
            traceback.print_exc(file=log)
            raise TentpoleError(f"{type(error).__name__}: {error}") from None
