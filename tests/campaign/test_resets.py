"""Three labels in a row that fail send their walker back: decided from files, journaled, on screen, in the report."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from tentpole import Campaign
from tentpole.campaign.batches import Method, Request, read_batch, read_outcome, write_batch
from tentpole.campaign.facts import BatchFacts, RoundOutcome
from tentpole.campaign.paths import CampaignPaths
from tentpole.campaign.resets import walker_resets
from tentpole.campaign.state import RoundState
from tentpole.entropy import Covariance, FingerprintSettings
from tentpole.exploration import Exploration, ExploreSettings, WalkerSeed, remember
from tentpole.exploration.files import read_exploration, write_exploration
from tentpole.exploration.jobs import REASON, WalkerJob, WalkerReset, _state
from tentpole.exploration.walker import init_walker
from tentpole.records import Condition
from tentpole.storage.atomic import write_json
from tentpole.storage.journal import read
from tentpole.storage.labels import quarantine

pytestmark = pytest.mark.slow

REFERENCE = "0123456789abcdef"

Make = Callable[..., Path]


class Closed:
    """Writes closed rounds: per round a string such as "w00+ w00- w01-", in batch order."""

    def __init__(self, root: Path) -> None:
        self.paths, self.rng = CampaignPaths(root), np.random.default_rng(0)

    def round(self, number: int, words: str) -> "Closed":
        requests, failed = [], []
        for place, word in enumerate(words.split()):
            atoms = bulk("Cu", cubic=True)
            atoms.positions += self.rng.normal(scale=0.1, size=(4, 3))
            id = f"r{number:03d}-{word[:-1]}-{1000 * number + 10 * place:06d}"
            requests.append(Request(id, atoms, REFERENCE, None, None))
            if word[-1] == "-":
                quarantine(self.paths.root, requests[-1].name, "unconverged", "60 steps", atoms)
                failed.append(requests[-1].name)
        write_batch(self.paths, number, requests, BatchFacts())
        write_json(self.paths.outcome(number), RoundOutcome((), tuple(failed)).to_json())
        return self

    def sent(self, last: int, lag: int = 1) -> list[tuple[str, int, int]]:
        found = walker_resets(RoundState(self.paths, Method(REFERENCE), False), last, lag)
        return [(s.walker, s.round, s.before) for s in found]


def test_three_in_a_row_send_a_walker_back_and_two_do_not(tmp_path: Path) -> None:
    made = Closed(tmp_path).round(1, "w00- w01- w00- w01+ w00- w01- w01-")
    assert made.sent(1) == [("w00", 2, 1000)]
    assert made.sent(0) == []


def test_a_row_goes_on_over_rounds_and_ends_with_a_label(tmp_path: Path) -> None:
    made = Closed(tmp_path).round(1, "w00- w01- w01-").round(2, "w00- w01+ w01-").round(3, "w00- w01-")
    assert made.sent(2) == []
    assert made.sent(3) == [("w00", 4, 1000)]


def test_frames_from_before_the_return_do_not_count_again(tmp_path: Path) -> None:
    """A walker that runs ahead of its labels has explored one more round before it hears of them."""
    made = Closed(tmp_path).round(1, "w00- w00- w00-").round(2, "w00- w00- w00-").round(3, "w00- w00- w00-")
    assert made.sent(3, lag=2) == [("w00", 3, 1000), ("w00", 5, 3000)]
    assert made.sent(3, lag=1) == [("w00", 2, 1000), ("w00", 3, 2000), ("w00", 4, 3000)]


def explored(root: Path, round: int, steps: list[int]) -> None:
    walker = init_walker("w00", Condition("cu", 300.0), bulk("Cu", cubic=True), np.random.default_rng(round))
    for step in steps:
        atoms = walker.atoms.copy()
        atoms.positions = bulk("Cu", cubic=True).positions + 0.001 * step
        walker = remember(replace(walker, atoms=atoms, step=step))
    write_exploration(CampaignPaths(root).shard(round, "w00"), Exploration(round, walker))


def job(root: Path, round: int, sent: WalkerReset | None) -> WalkerJob:
    paths = CampaignPaths(root)
    return WalkerJob(
        root=root,
        shard=paths.shard(round, "w00"),
        earlier=tuple(paths.shard(before, "w00") for before in range(round - 1, 0, -1)),
        checkpoint=paths.checkpoint("w00"),
        progress=paths.steps_done("w00"),
        round=round,
        id="w00",
        seed=WalkerSeed(7, round, 0),
        condition=Condition("cu", 300.0),
        start=bulk("Cu", cubic=True),
        models=root,
        driver=0,
        voters=(),
        dtype="float64",
        evaluation="own",
        ratio=0.0,
        entropy="logdet",
        fingerprint=FingerprintSettings(),
        species=(29,),
        covariance=Covariance(),
        settings=ExploreSettings(steps=30),
        checkpoint_seconds=60.0,
        sent_back=sent,
    )


@pytest.mark.parametrize(("before", "found"), [(45, 40), (40, 30), (15, 10), (5, None)])
def test_it_goes_on_from_the_last_healthy_state_before_the_failed_frames(
    tmp_path: Path, before: int, found: int | None
) -> None:
    explored(tmp_path, 1, [10, 20, 30])
    explored(tmp_path, 2, [40, 50, 60])
    plain = _state(job(tmp_path, 3, None))
    assert plain.walker.step == 60
    assert plain.mishaps == ()
    sent = WalkerReset("w00", 2, 3, before, "3 labels in a row failed: unconverged")
    state = _state(job(tmp_path, 3, sent))
    shift = 0.0 if found is None else 0.001 * found
    assert np.allclose(state.walker.atoms.positions - bulk("Cu", cubic=True).positions, shift, atol=1e-12)
    assert state.walker.step == 60
    assert [m.reason for m in state.mishaps] == [REASON]
    again = _state(job(tmp_path, 3, sent))
    assert np.array_equal(again.walker.atoms.get_momenta(), state.walker.atoms.get_momenta())
    assert not np.array_equal(plain.walker.atoms.get_momenta(), state.walker.atoms.get_momenta())


def test_a_campaign_says_that_a_walker_was_sent_back(campaign_file: Make, tmp_path: Path) -> None:
    (tmp_path / "strict.toml").write_text('parent = "emt"\n[accept]\nmax_force_eV_per_A = 0.5\n')
    path = campaign_file(
        reference="strict.toml",
        stop={"rounds": 2},
        initial={"kind": "rattle", "count": 6, "stdev_A": [0.003]},
        explore={"temperatures_K": [2500.0], "steps": 40, "snapshot_every": 10, "bias": {"ratios": [0.0]}},
        selection={"rule": "uncertainty", "batch": 4, "audit": 0.25},
    )
    notes: list[str] = []

    class Listener:
        def progress(self, phase: str, done: float, total: float) -> None: ...

        def note(self, text: str) -> None:
            notes.append(text)

    with Campaign(path, tmp_path / "run", progress=Listener()) as campaign:
        campaign.run()
    assert len(read_outcome(CampaignPaths(tmp_path / "run"), 1).failed) >= 3
    told = [e for e in read(tmp_path / "run/journal.jsonl") if e["event"] == "walker sent back"]
    assert told[0]["walker"] == "w00"
    assert told[0]["round"] == 2
    assert "3 labels in a row failed" in told[0]["reason"]
    assert any("walker w00 goes back" in note for note in notes)
    shard = read_exploration(CampaignPaths(tmp_path / "run").shard(2, "w00"))
    assert shard.mishaps[0].reason == REASON
    facts = read_batch(CampaignPaths(tmp_path / "run"), 2, Method("")).facts
    assert facts.mishaps[REASON] == 1  # the report's table of mishaps
