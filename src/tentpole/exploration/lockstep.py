"""Several walkers side by side in one process, by one evaluation of a model for all of them.

Each walker is an ordinary function in a thread of its own, so that any integrator of ASE serves as it is. One thread
runs at a time: each until it asks a potential for something; once all have asked, one evaluation answers them all.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from tentpole.committee.baseline import BaselineVoter
from tentpole.committee.committee import Committee, Voter
from tentpole.committee.graph import Graph, collate

FloatArray = NDArray[np.float64]
T = TypeVar("T")
Answer = tuple[FloatArray, FloatArray, FloatArray | None]
Question = tuple[Voter, tuple[int, ...], bool]


class Lockstep:
    """Runs functions side by side and answers together what they ask of the voters that they share.

    Examples
    --------
    >>> from tentpole.exploration.lockstep import Lockstep
    >>> Lockstep().run([lambda: 1, lambda: 2])
    [1, 2]
    """

    def __init__(self) -> None:
        self._now: _Turn[Any] | None = None
        self._alone: dict[Voter, Committee] = {}

    def shared(self, voter: Voter) -> Voter:
        """The voter, asked for all at once where it is a model that gains from that, and loses no bit by it."""
        if isinstance(voter, BaselineVoter):
            member = self.shared(voter.member)
            return voter if member is voter.member else BaselineVoter(member, voter.baseline)
        if getattr(voter, "gains_together", False):
            self._alone[voter] = Committee([voter])
            return _Shared(self, voter)
        return voter

    def run(self, functions: Sequence[Callable[[], T]]) -> list[T]:
        """Their results.

        Parameters
        ----------
        functions : sequence of callable
            Each runs to its end whatever becomes of the others.

        Returns
        -------
        list
            In the order of the functions.

        Raises
        ------
        Exception
            What the first of them raised that raised anything.
        """
        turns = [_Turn(function) for function in functions]
        going = turns
        try:
            while going:
                for turn in going:
                    self._now = turn
                    turn.go_on()
                self._now = None
                going = [turn for turn in going if not turn.ended]
                self._answer(going)
        finally:
            for turn in going:
                turn.give_up()
        return [turn.outcome() for turn in turns]

    def seconds(self) -> float:
        """The time that the function which calls this has had, its share of the evaluations included."""
        return time.perf_counter() if self._now is None else self._now.seconds()

    def ask(self, voter: Voter, graph: Graph, votes: Sequence[int], stress: bool) -> Answer:
        """What the voter says of the graph, once all others have asked too."""
        if self._now is None:
            return voter.evaluate(graph, votes, stress)
        return self._now.ask((voter, tuple(votes), stress), graph)

    def _answer(self, turns: Sequence[_Turn[Any]]) -> None:
        groups: dict[Question, list[_Turn[Any]]] = {}
        for turn in turns:
            assert turn.question is not None
            groups.setdefault(turn.question, []).append(turn)
        for (voter, votes, stress), group in groups.items():
            began = time.perf_counter()
            self._evaluate(voter, votes, stress, group)
            for turn in group:
                turn.spent += (time.perf_counter() - began) / len(group)

    def _evaluate(self, voter: Voter, votes: Sequence[int], stress: bool, group: Sequence[_Turn[Any]]) -> None:
        """Answer the group; where that fails, by halves, so that an error is told to whom it belongs."""
        graphs = [turn.graph for turn in group]
        try:
            answers = self._alone[voter].vote(collate(graphs), votes, stress=stress)
        except Exception as error:
            if len(group) == 1:
                group[0].answer = error
                return
        else:
            for turn, answer in zip(group, _divided(answers, graphs), strict=True):
                turn.answer = answer
            return
        middle = len(group) // 2
        for half in (group[:middle], group[middle:]):
            self._evaluate(voter, votes, stress, half)


class _Shared(Voter):
    """A voter that answers all who ask it at once."""

    def __init__(self, lockstep: Lockstep, voter: Voter) -> None:
        self._lockstep, self._voter = lockstep, voter
        self.numbers, self.cutoff = voter.numbers, voter.cutoff

    @property
    def votes(self) -> int:
        return self._voter.votes

    @override
    def evaluate(self, graph: Graph, votes: Sequence[int], stress: bool) -> Answer:
        return self._lockstep.ask(self._voter, graph, votes, stress)


class _GivenUp(BaseException):
    """Ends a thread whose function nobody waits for any more."""


class _Turn(Generic[T]):
    """One function in its thread."""

    def __init__(self, function: Callable[[], T]) -> None:
        self.ended = False
        self.spent = 0.0
        self.question: Question | None = None
        self.graph: Any = None
        self.answer: Any = None
        self._function = function
        self._result: Any = None
        self._error: BaseException | None = None
        self._began = 0.0
        self._go, self._back = threading.Lock(), threading.Lock()
        self._go.acquire()
        self._back.acquire()
        threading.Thread(target=self._work, daemon=True).start()

    def go_on(self) -> None:
        """Let the function run until it asks or ends."""
        self._began = time.perf_counter()
        self._go.release()
        self._back.acquire()
        self.spent += time.perf_counter() - self._began

    def give_up(self) -> None:
        """End the function where it waits."""
        if not self.ended:
            self.answer = _GivenUp()
            self.go_on()

    def seconds(self) -> float:
        """What the function has had so far, asked from within it."""
        return self.spent + time.perf_counter() - self._began

    def ask(self, question: Question, graph: Graph) -> Answer:
        """From within the function: wait for the answer."""
        self.question, self.graph = question, graph
        self._back.release()
        self._go.acquire()
        answer, self.answer = self.answer, None
        if isinstance(answer, BaseException):
            raise answer
        return answer  # type: ignore[no-any-return]

    def outcome(self) -> T:
        """What the function returned. Raises what it raised."""
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[no-any-return]

    def _work(self) -> None:
        self._go.acquire()
        try:
            if not isinstance(self.answer, _GivenUp):
                self._result = self._function()
        except _GivenUp:
            pass
        except BaseException as error:
            self._error = error
        finally:
            self.ended = True
            self._back.release()


def _divided(together: Answer, graphs: Sequence[Graph]) -> list[Answer]:
    """The answer for each of the graphs."""
    energies, forces, stresses = together
    frames = np.cumsum([len(graph.sizes) for graph in graphs])[:-1]
    atoms = np.cumsum([len(graph.numbers) for graph in graphs])[:-1]
    parts = [None] * len(graphs) if stresses is None else np.split(stresses, frames, axis=1)
    return list(zip(np.split(energies, frames, axis=1), np.split(forces, atoms, axis=1), parts, strict=True))
