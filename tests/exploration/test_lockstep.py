"""Walkers side by side: the same walkers, bit for bit, that each would be by itself; by fewer evaluations."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from support.small_models import ZUNDEL, small_models
from tentpole.committee import AseVoter, Committee, CommitteeCalculator
from tentpole.committee.graph import Graph, edges_within, graph_of
from tentpole.entropy import EntropyBias
from tentpole.exploration import NPT, Langevin, advance, init_walker
from tentpole.exploration.lockstep import Lockstep
from tentpole.records import Condition
from tentpole.training.network_voter import NetworkVoter, faster


@pytest.fixture(scope="module")
def committee() -> Committee:
    """Two untrained members that this package's network can stand for."""
    from tentpole.committee.mace_voter import MaceVoter

    members = [MaceVoter(model, [0], "cpu") for model in small_models()]
    found = faster(Committee(members))
    assert isinstance(found.voters[0], NetworkVoter)
    return found


def trajectory(lockstep: Lockstep, committee: Committee, k: int) -> tuple[np.ndarray, float]:
    """Where walker k is after a number of steps of its own, under a thermostat, a bias and a barostat of its own."""
    shared = Committee([lockstep.shared(voter) for voter in committee.voters])
    atoms, ensemble = ZUNDEL.copy(), Langevin()
    if k % 3 == 2:
        atoms.set_cell([7.0, 7.0, 7.0 + 0.1 * k])
        atoms.pbc, ensemble = True, NPT()
    calc = CommitteeCalculator(shared, 0, stress=ensemble.barostatted)
    driver = EntropyBias(calc, cutoff=3.0, ratio=0.3) if k % 3 == 1 else calc
    condition = Condition("zundel", 200.0 + 50 * k, 0.0 if ensemble.barostatted else None)
    walker = advance(init_walker(f"w{k}", condition, atoms, np.random.default_rng(k)), driver, 5 + k, ensemble)
    return walker.atoms.positions, float(calc.get_property("max_force_std", walker.atoms))


def test_walkers_are_the_same_alone_and_side_by_side(committee: Committee, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = [Lockstep().run([partial(trajectory, Lockstep(), committee, k)])[0] for k in range(7)]
    sizes = []
    evaluate = NetworkVoter.evaluate
    monkeypatch.setattr(
        NetworkVoter,
        "evaluate",
        lambda self, graph, *rest: sizes.append(len(graph.sizes)) or evaluate(self, graph, *rest),
    )
    for count in (7, 4):
        lockstep = Lockstep()
        together = lockstep.run([partial(trajectory, lockstep, committee, k) for k in range(count)])
        for (positions, sigma), (known, known_sigma) in zip(together, alone, strict=False):
            assert np.array_equal(positions, known)
            assert sigma == known_sigma
    assert max(sizes) >= 3
    assert sum(sizes) > 2 * len(sizes)


class _Counts(NetworkVoter):
    """Answers with the number of structures that it was asked for at once."""

    def __init__(self, most: int = 10**6) -> None:
        self.most, self.asked = most, []
        self.numbers, self.cutoff = (1, 8), 3.0

    votes = 1

    def evaluate(self, graph: Graph, votes: object, stress: bool) -> object:
        self.asked.append(len(graph.sizes))
        if len(graph.edges.i) > self.most:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB")
        if not np.isfinite(graph.positions).all():
            raise ValueError("broken")
        n, atoms = len(graph.sizes), len(graph.numbers)
        return np.full((1, n), float(n)), np.zeros((1, atoms, 3)), None


def asking(voter: object, times: int, atoms: Atoms = ZUNDEL) -> list[float]:
    graph = replace(graph_of(ZUNDEL, edges_within(ZUNDEL, 3.0)), positions=atoms.positions)
    return [float(voter.evaluate(graph, [0], False)[0][0, 0]) for _ in range(times)]


def test_who_has_finished_leaves_the_batch() -> None:
    lockstep, voter = Lockstep(), _Counts()
    shared = lockstep.shared(voter)
    assert lockstep.run([partial(asking, shared, times) for times in (1, 3, 0, 2)]) == [[3], [3, 2, 1], [], [3, 2]]
    assert voter.asked == [3, 2, 1]


def test_an_error_is_told_to_whom_it_belongs_and_the_others_go_on() -> None:
    lockstep, voter = Lockstep(), _Counts()
    shared, done = lockstep.shared(voter), []
    broken = ZUNDEL.copy()
    broken.positions[0] = np.nan
    tasks = [partial(asking, shared, 2) for _ in range(3)] + [partial(asking, shared, 2, broken)]
    with pytest.raises(ValueError, match="broken"):
        lockstep.run([lambda task=task: done.append(task()) for task in tasks])
    assert len(done) == 3
    assert all(answers[1] == 3.0 for answers in done)


def test_memory_that_does_not_suffice_halves_the_batch_and_that_is_remembered() -> None:
    edges = len(edges_within(ZUNDEL, 3.0).i)
    lockstep, voter = Lockstep(), _Counts(most=3 * edges)
    shared = lockstep.shared(voter)
    assert lockstep.run([partial(asking, shared, 2) for _ in range(8)]) == [[2.0, 2.0]] * 8
    assert voter.asked[-4:] == [2, 2, 2, 2]
    assert sum(count > 3 for count in voter.asked) <= 2


def test_memory_too_small_for_one_structure_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="out of memory"):
        Committee([_Counts(most=0)]).vote(graph_of(ZUNDEL, edges_within(ZUNDEL, 3.0)), [0])


def test_time_is_that_of_the_walker_not_of_the_wait_for_others() -> None:
    lockstep = Lockstep()
    shared = lockstep.shared(_Counts())

    def timed(times: int) -> float:
        began = lockstep.seconds()
        asking(shared, times)
        return lockstep.seconds() - began

    short, long = lockstep.run([partial(timed, 1), partial(timed, 200)])
    assert 0 <= short < long


def test_other_potentials_answer_by_themselves() -> None:
    from ase.calculators.emt import EMT

    voter = AseVoter(EMT())
    assert Lockstep().shared(voter) is voter


def test_threads_end_with_an_interrupt(tmp_path: Path) -> None:
    import threading

    lockstep, voter = Lockstep(), _Counts()
    shared, before = lockstep.shared(voter), threading.active_count()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    voter.evaluate = interrupted
    with pytest.raises(KeyboardInterrupt):
        lockstep.run([partial(asking, shared, 1) for _ in range(3)])
    for thread in threading.enumerate()[before:]:
        thread.join(5.0)
    assert threading.active_count() == before
