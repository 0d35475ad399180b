"""Conditions that take turns: the same after a stop, tests that wait for all of them, a final look at all."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from support.same_end import differing, manifest
from support.small_campaign import small_campaign
from tentpole import Campaign, CampaignRecord
from tentpole.campaign import audit_tests
from tentpole.campaign.confidence import Look
from tentpole.campaign.evidence import Audits, Criteria, Round
from tentpole.campaign.exploring import _earlier_rounds, _first_since
from tentpole.config.checks import unreachable
from tentpole.config.loading import load
from tentpole.config.schema import ConditionSection
from tentpole.config.sections import read_as
from tentpole.config.walkers import PlannedWalker
from tentpole.errors import InputError
from tentpole.exploration.files import read_exploration
from tentpole.records import Condition

TURNS = {
    "reference": "lenient.toml",
    "stop": {"rounds": 4},
    "target": {"force_error_eV_per_A": 50.0, "rounds": 1, "final_audits": 6},
    "explore": {
        "temperatures_K": [300.0, 600.0, 900.0],
        "steps": 16,
        "snapshot_every": 2,
        "bias": {"ratios": [0.0]},
        "walkers": 2,
    },
    "selection": {"rule": "two_key", "batch": 6},
}


def campaign_with(folder: Path, **explore) -> Path:
    (folder / "lenient.toml").write_text('parent = "emt"\n[accept]\nmax_force_eV_per_A = 1e6\n')
    return small_campaign(folder, **{**TURNS, "explore": TURNS["explore"] | explore})


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("turns")
    with Campaign(campaign_with(folder), folder / "run") as campaign:
        campaign.run()
    return folder


def walkers(run: Path, number: int) -> set[str]:
    return {path.stem.partition("-")[2] for path in run.glob(f"snapshots/r{number:03d}-*.h5")}


@pytest.mark.slow
def test_conditions_take_turns_and_a_final_look_has_frames_of_all(done):
    run = done / "run"
    record = CampaignRecord.read(run)
    assert walkers(run, 1) | walkers(run, 2) == {"w00", "w01", "w02"}
    assert max(len(walkers(run, 1)), len(walkers(run, 2))) == 2
    assert record.verdict is not None
    assert record.verdict.kind == "CONVERGED"
    assert record.rounds[-1].facts.final_look == 1
    assert len(record.rounds) == 4  # the first labels, two turns, the look: not before every condition has had its turn
    assert walkers(run, 3) == {"w00", "w01", "w02"}
    judged = {str(frame.condition) for frame in record.state.record(3).frames}
    assert judged == {"copper, 300 K", "copper, 600 K", "copper, 900 K"}


@pytest.mark.slow
def test_a_walker_goes_on_from_its_last_turn(done):
    again = next(iter(walkers(done / "run", 1)))
    assert read_exploration(done / "run" / "snapshots" / f"r003-{again}.h5").walker.step == 32


@pytest.mark.slow
def test_a_campaign_that_was_stopped_comes_to_the_same_end(done, tmp_path):
    """Round 2 and all after it are made again from what round 1 left, by another driver."""
    shutil.copytree(done / "run", tmp_path / "run")
    run = tmp_path / "run"
    for pattern in ("rounds/r00[23]", "snapshots/r00[23]-*", "models/r00[23]*", "verdict.json", "cache"):
        for path in run.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    with Campaign(run) as campaign:
        campaign.run()
    assert not differing(manifest(run), manifest(done / "run"))


def test_a_condition_with_more_walkers_than_the_budget_is_refused(tmp_path):
    path = campaign_with(tmp_path, bias={"ratios": [0.0, 0.1, 0.2]})
    with pytest.raises(InputError, match=r"explore.walkers = 2: the condition .* has 3 walkers"):
        load(path)


def test_a_verdict_before_every_condition_has_had_its_turn_is_out_of_reach(tmp_path):
    config = load(campaign_with(tmp_path, temperatures_K=[100.0, 200.0, 300.0, 400.0, 500.0], walkers=1))
    assert any("5 turns of the conditions come before the final look" in words for words in unreachable(config))


def limits(**changes) -> Criteria:
    settings = {
        "force_error_eV_per_A": 0.1,
        "rounds": 1,
        "labels_needed": 6,
        "outliers": 0.1,
        "stalled_rounds": 3,
        "max_labels": None,
        "max_rounds": None,
        "max_hours": None,
        "evidence": "audits",
        "conditions": ("cold", "hot"),
        "frames": 200,
        "turns": 2,
    }
    return Criteria(**{**settings, **changes})


def explored(condition: str, error: float, frames: int = 12) -> Round:
    rng = np.random.default_rng(0)
    look = Look(error**2 * rng.uniform(0.8, 1.2, frames), (condition,) * frames, ("w00", "w01") * (frames // 2))
    audits = Audits(look, np.zeros(frames), np.full(frames, np.nan))
    return Round(frames, 0, look.squares, (True,) * frames, {}, np.nan, 10, 0, 0, frames, 0, 100, audits)


FIRST = Round(20, 0, np.zeros(0), (), {}, np.nan, 0, 0, 0)


def test_tests_look_back_until_every_condition_has_had_its_turn():
    both = audit_tests.audit_tests([FIRST, explored("cold", 0.01), explored("hot", 0.02)], limits())
    bound = next(test for test in both if "force RMSE" in test.test)
    assert bound.holds
    one = audit_tests.audit_tests([FIRST, explored("cold", 0.01)], limits())
    assert next(test for test in one if "force RMSE" in test.test).holds is None
    assert audit_tests.final_look_size([FIRST, explored("cold", 0.01)], limits()) is None
    assert audit_tests.final_look_size([FIRST, explored("cold", 0.01), explored("hot", 0.02)], limits()) is not None


def test_a_hot_turn_after_cold_ones_is_no_stall():
    """Three rounds against the three before would be cold, hot, cold against hot, cold, hot."""
    falling = [0.5, 1.6, 0.4, 1.2, 0.3, 0.9, 0.25, 0.7]
    history = [FIRST, *(explored(("cold", "hot")[i % 2], error) for i, error in enumerate(falling))]
    assert not audit_tests.stalled(history, limits())
    level = [explored(("cold", "hot")[i % 2], (0.3, 1.0)[i % 2]) for i in range(8)]
    assert audit_tests.stalled([FIRST, *level], limits())


@pytest.mark.slow
def test_a_final_look_is_whole_where_walkers_ran_ahead_of_it(tmp_path):
    """When its walkers were set going it was not known to be one: those that are missing follow."""
    with Campaign(campaign_with(tmp_path, ahead=True), tmp_path / "run") as campaign:
        campaign.run()
    last = CampaignRecord.read(tmp_path / "run").rounds[-1]
    assert last.facts.final_look == 1
    assert walkers(tmp_path / "run", last.name) == {"w00", "w01", "w02"}
    assert {str(f.condition) for f in CampaignRecord.read(tmp_path / "run").state.record(last.name).frames} == {
        "copper, 300 K",
        "copper, 600 K",
        "copper, 900 K",
    }


def test_a_walker_goes_on_from_the_rounds_it_ran_in_and_a_ramp_begins_anew():
    plain = PlannedWalker("w00", 0, Condition("Cu", 300.0), 0.0)
    points = [{"at": 0.0, "temperature_K": 300.0}, {"at": 1.0, "temperature_K": 900.0}]
    section = read_as(ConditionSection, {"structure": "Cu", "points": points, "rounds": 2}, "campaign.toml")
    ramp = PlannedWalker("w01", 1, section.condition(npt=False), 0.0, section)
    context = SimpleNamespace(settings=SimpleNamespace(changes=()))
    ran = {7: [plain, ramp], 6: [ramp], 4: [plain, ramp], 3: [plain], 1: [plain]}

    def earlier(walker, number):
        return _earlier_rounds(context, number, walker, {k: v for k, v in ran.items() if k < number})

    assert earlier(plain, 8) == (7, 4, 3, 1)
    assert earlier(plain, 1) == ()
    assert [earlier(ramp, number) for number in (4, 6, 7, 8)] == [(), (4,), (), (7,)]


def test_a_walker_that_is_reset_while_others_have_their_turn_begins_its_next_one_so():
    assert [_first_since(5, earlier, 6) for earlier in ((3, 1), (5, 3), (4,), ())] == [True, False, True, False]
    assert not _first_since(7, (3, 1), 6)
