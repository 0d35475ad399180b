"""Walkers that run one round ahead of the labels: set going while a batch is labelled, awaited by the next round."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

from tentpole.campaign.context import Context
from tentpole.campaign.dataset import known_dataset
from tentpole.campaign.exploring import PIECES, await_walkers, longer_jobs, set_going, walker_jobs
from tentpole.campaign.resets import walker_resets
from tentpole.campaign.walkers import walkers_in
from tentpole.exploration.jobs import WalkerJob

if TYPE_CHECKING:
    from tentpole.entropy import Covariance


def lag(context: Context) -> int:
    """By how many rounds walkers are behind the labels: 2 where they run ahead, else 1."""
    return 2 if context.config.explore.ahead else 1


def known_to(context: Context, number: int) -> int:
    """The last round whose labels the walkers of round `number` know of."""
    return max(0, number - lag(context))


class Ahead:
    """The exploration of one round at a time, in the background where [explore] ahead says so.

    It makes no difference to any result whether walkers run early or late: all that they depend on is known before.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._running: tuple[list[WalkerJob], list[Future[list[Path]]]] | None = None

    def start(self) -> None:
        """Set the walkers of the next round going while labels of this one are waited for, where [explore] ahead.

        Nothing happens where that round may never come, or where files are missing.
        """
        number = self._context.state.current + 1
        context = self._context.at(number)
        if not context.config.explore.ahead or self._running is not None or number < 2 or not self._is_coming(number):
            return
        known = known_to(context, number)
        _, dataset = known_dataset(context, known, known)
        assert dataset.covariance is not None
        jobs = self._jobs(number, dataset.covariance)
        self._running = (jobs, set_going(context, jobs))

    def explore(self, number: int, covariance: Covariance) -> None:
        """Have the walkers' round run to its end, or await it where it runs already."""
        if self._running is not None and self._running[0][0].round == number:
            jobs, pending = self._running
            self._running = None
        else:
            jobs, pending = [], []
        running = {job.id for job in jobs}
        # of a final look, which was not known to be one when its walkers were set going, more of them
        if more := [job for job in self._jobs(number, covariance) if job.id not in running]:
            jobs, pending = [*jobs, *more], [*pending, *set_going(self._context, more)]
        await_walkers(self._context, jobs, pending)

    def explore_longer(self, number: int, covariance: Covariance, frames: int) -> list[Path]:
        """Have the walkers that may judge go farther, for a final look of so many frames, and say where that lies."""
        context, walkers, shards = self._context.at(number), self._jobs(number, covariance), list[Path]()
        for piece in range(1, PIECES + 1):
            if not (jobs := longer_jobs(context, walkers, frames, piece)):
                break
            await_walkers(self._context, jobs, set_going(self._context, jobs))
            shards += [job.shard for job in jobs]
        return shards

    def abandon(self) -> None:
        """Stop walkers that run ahead: there is a verdict. Their checkpoints stay."""
        for future in self._running[1] if self._running else ():
            future.cancel()
        self._running = None

    def _jobs(self, number: int, covariance: Covariance) -> list[WalkerJob]:
        context = self._context.at(number)
        known = known_to(context, number)
        resets = walker_resets(context.state, known, lag(context))
        return walker_jobs(context, number, context.state.newest_models(known), covariance, resets)

    def _is_coming(self, number: int) -> bool:
        context, state, now = self._context, self._context.state, number - 1
        stop = context.config.stop
        if not state.is_decided(now) or state.is_closed(now) or state.missing() or state.record(now).facts.final_look:
            return False
        if stop.rounds is not None and now >= stop.rounds:
            return False
        if stop.labels is not None and state.count(now - 1) + state.batch(now).asked >= stop.labels:
            return False
        shards = [
            context.paths.shard(before, walker.id)
            for before in range(1, number)
            for walker in walkers_in(state, context.at(before).config, before)
        ]
        return all(path.exists() for path in shards) and all(state.is_trained(before) for before in range(now))
