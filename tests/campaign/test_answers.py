"""What is told: checked before it is kept, kept once, taken back by name; at the same price in any campaign."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk

from tentpole import Campaign, CampaignRecord
from tentpole.campaign import Request, state
from tentpole.campaign.batches import read_outcome
from tentpole.campaign.paths import CampaignPaths
from tentpole.campaign.state import RoundState
from tentpole.errors import InputError
from tentpole.records import Label
from tentpole.storage.journal import read

Make = Callable[..., Path]
ZERO = np.zeros((4, 3))


@pytest.fixture
def campaign(campaign_file: Make, tmp_path: Path) -> Iterator[Campaign]:
    """A campaign that waits for its six initial labels."""
    with Campaign(campaign_file(stop={"rounds": 0}), tmp_path / "run") as opened:
        yield opened


def changed(request: Request, **values: Any) -> Label:
    """A label with some of its fields other than they should be."""
    label = request.label(0.0, ZERO)
    fields = {name: getattr(label, name) for name in Label.__slots__} | values
    return Label(**fields)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"energy": float("nan")}, "energy is not finite"),
        ({"energy": "low"}, "energy must be numbers"),
        ({"energy": None}, "energy is not finite|energy must be numbers"),
        ({"energy": np.zeros(2)}, r"energy has shape \(2,\), legal is a single number"),
        ({"forces": np.full((4, 3), np.inf)}, "forces is not finite"),
        ({"forces": [["a", "b", "c"]] * 4}, "forces must be numbers"),
        ({"stress": np.full(6, np.nan)}, "stress is not finite"),
        ({"stress": np.zeros((3, 3))}, r"stress has shape \(3, 3\), legal is shape \(6,\)"),
        ({"stress": np.zeros(7)}, "stress has shape"),
        ({"atoms": bulk("Cu", cubic=True)}, "not those that were asked for"),
        ({"details": {"where": Path("x")}}, "plain JSON"),
        ({"details": {"core_s": float("nan")}}, "plain JSON with finite numbers"),
        ({"details": {"seconds": "fast"}}, "seconds = 'fast'"),
        ({"details": {"core_s": -1e9}}, "0 or more"),
        ({"details": [1]}, "must be a table"),
        ({"atoms": None}, "atoms must be ase.Atoms, not NoneType"),
        (
            {"forces": [[0, 0, 1e10], [0, 0, -1e10], [0, 0, 0], [0, 0, 0]]},
            "largest force is 1e.10 eV/Å; accepted",
        ),
    ],
)
def test_a_label_that_no_training_could_use_is_refused(campaign: Campaign, values: dict[str, Any], words: str) -> None:
    request = campaign.ask()[0]
    with pytest.raises(InputError, match=words):
        campaign.tell(changed(request, **values))
    assert len(campaign.ask()) == 6


BANDS = """
parent = "emt"
code_version = "1"
[accept]
magnetization = [1.0, 2.0]
absolute_magnetization = [1.0, 2.0]
min_distance_A = 1.0
max_net_force_eV_per_A = 0.5
max_stress_eV_per_A3 = 0.1
min_energy_eV_per_atom = -5.0
max_energy_eV_per_atom = 5.0
"""
GOOD = {"total_muB": -6.0, "absolute_muB": 7.0}
PUSHED = np.array([[0.6, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]])


def test_told_labels_are_held_against_every_limit_of_the_reference(campaign_file: Make, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(BANDS)
    with Campaign(campaign_file(reference="mine.toml", stop={"rounds": 0}), tmp_path / "run") as campaign:
        request, *others = campaign.ask()
        for answer, words in (
            (request.label(0.0, ZERO), r"gave no total magnetisation.*magnetization=\{'total_muB'"),
            (request.label(0.0, ZERO, magnetization={"total_muB": 6.0}), "gave no absolute magnetisation"),
            (request.label(0.0, ZERO, magnetization={**GOOD, "total_muB": 0.0}), "0 µB/atom; accepted from 1 to 2"),
            (request.label(0.0, ZERO, magnetization={**GOOD, "absolute_muB": 9.0}), "2.25 µB/atom; accepted"),
            (request.label(0.0, ZERO, magnetization={**GOOD, "total_muB": "low"}), "legal is request.label"),
            (request.label(0.0, ZERO, magnetization=[6.0]), "legal is request.label"),
            (request.label(0.0, PUSHED, magnetization=GOOD), "forces add up to 0.6 eV/Å; accepted up to 0.5"),
            (request.label(0.0, ZERO, np.full(6, 0.2), magnetization=GOOD), "largest stress is 0.2"),
            (request.label(-24.0, ZERO, magnetization=GOOD), "-6 eV/atom; accepted from -5"),
            (request.label(24.0, ZERO, magnetization=GOOD), "6 eV/atom; accepted up to 5"),
        ):
            with pytest.raises(InputError, match=words):
                campaign.tell(answer)
        campaign.tell(request.label(0.0, ZERO, magnetization=GOOD))
        assert len(campaign.ask()) == len(others)


@pytest.mark.parametrize("answer", [None, "done", 3.0])
def test_what_is_no_answer_is_refused(campaign: Campaign, answer: Any) -> None:
    with pytest.raises(InputError, match=r"legal are request\.label"):
        campaign.tell([answer])
    with pytest.raises(InputError, match=r"legal are request\.label"):
        campaign.tell(answer)


def test_one_answer_or_several_and_the_same_twice(campaign: Campaign) -> None:
    first, second, third, *_ = campaign.ask()
    campaign.tell(first.label(1.0, ZERO, core_s=2.0))
    campaign.tell(request.label(1.0, ZERO) for request in (second, third))
    campaign.tell([first.label(1.0, ZERO)])
    assert len(campaign.ask()) == 3
    told = [event["name"] for event in read(campaign.folder / "journal.jsonl") if event["event"] == "label"]
    assert told == [first.name, second.name, third.name]


def test_a_second_answer_that_differs_is_refused_until_the_first_is_taken_back(campaign: Campaign) -> None:
    first, second, *_ = campaign.ask()
    campaign.tell([first.label(1.0, ZERO), second.failed("unconverged", "60 steps")])
    for other in (first.label(2.0, ZERO), first.label(1.0, ZERO, np.zeros(6)), first.failed("late")):
        with pytest.raises(InputError, match="has another answer already"):
            campaign.tell(other)
    with pytest.raises(InputError, match=r"campaign\.retract"):
        campaign.tell(second.label(1.0, ZERO))
    for request in (first, second):
        campaign.retract(request.name)
    assert {first.name, second.name} <= {request.name for request in campaign.ask()}
    campaign.tell([first.label(2.0, ZERO), second.label(1.0, ZERO)])
    assert len(campaign.ask()) == 4


def test_only_an_answer_of_an_open_round_can_be_taken_back(campaign: Campaign) -> None:
    requests = campaign.ask()
    for name in (requests[0].name, "nobody-asked"):
        with pytest.raises(InputError, match="no answer of round 0"):
            campaign.retract(name)


def test_a_closed_campaign_says_so_and_closes_again(campaign: Campaign) -> None:
    request = campaign.ask()[0]
    campaign.close()
    campaign.close()
    with pytest.raises(InputError, match="is closed"):
        campaign.tell(request.label(0.0, ZERO))


def test_telling_reads_no_file_of_a_closed_round(
    campaign: Campaign, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """However many rounds are done, the price of a `tell` is that of the round under way."""
    first, second, *_ = campaign.ask()  # looks once for lost label files
    touched: list[str] = []
    monkeypatch.setattr(RoundState, "outcome", lambda self, name: touched.append(f"outcome {name}"))
    monkeypatch.setattr(RoundState, "record", lambda self, name: touched.append(f"record {name}"))
    monkeypatch.setattr(state, "label_names", lambda root: touched.append("all"))
    campaign.tell(first.label(1.0, ZERO))
    campaign.tell(second.failed("unconverged"))
    assert touched == []


def test_files_of_closed_rounds_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from support.paths import DATA
    from tentpole.campaign import state as module
    from tentpole.campaign.judging import history

    read_names: list[Any] = []

    def counted(paths: CampaignPaths, name: Any) -> Any:
        read_names.append(name)
        return read_outcome(paths, name)

    monkeypatch.setattr(module, "read_outcome", counted)
    method = CampaignRecord.read(DATA / "v1" / "finished").state.method
    read_names.clear()
    state = RoundState(CampaignPaths(DATA / "v1" / "finished"), method, True)
    for _ in range(3):
        state.missing()
        history(state)
        state.count(3)
    assert sorted(map(str, read_names)) == ["0", "1", "2", "3", "validation"]
