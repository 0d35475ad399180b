"""Runs of a study in worker processes side by side, each with a log of its own, in a folder that is the study's."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tentpole.errors import StateError, TentpoleError
from tentpole.storage.atomic import read_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tentpole.execution.pools import Workers

J = TypeVar("J")
LOG = "run.log"
QBC, SAMPLING, POOL = "a query-by-committee study", "a sampling study", "a benchmark of a pool"
POLL_S = 0.5


def refuse_all_but(kind: str, folder: Path) -> None:
    """Raises StateError where a folder holds something of another kind, which a study would be mixed with."""
    held = _held(folder)
    if held not in ("", kind):
        raise StateError(f"{folder} holds {held}, and this is {kind}: give another folder, with --dir or --out.")


def _held(folder: Path) -> str:
    """What kind of study a folder holds, or that it is a campaign's; "" where it is empty or nobody's."""
    if (folder / "settings.json").is_file():
        return SAMPLING if "study" in read_json(folder / "settings.json") else QBC
    if (folder / "benchmark.json").is_file():
        return POOL
    return "a campaign" if (folder / "journal.jsonl").is_file() else ""


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
