"""Which key of the rule starves a batch, and how long rounds will take, from what was written down."""

from dataclasses import replace
from pathlib import Path

import pytest

from support.made_campaign import Made
from tentpole.campaign.facts import BatchFacts
from tentpole.campaign.forecast import FINISHING, forecast
from tentpole.campaign.funnels import starving
from tentpole.campaign.record import CampaignRecord
from tentpole.campaign.usage import Usage
from tentpole.config.schema import CampaignConfig
from tentpole.report import explain
from tentpole.selection import Funnel
from tentpole.storage.atomic import read_json, write_json


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    one = Made(tmp_path_factory.mktemp("made")).initial()
    one.round()
    return one


def facts(funnel: Funnel) -> BatchFacts:
    return BatchFacts(candidates=funnel.candidates, funnel=funnel, audits=1, wanted=30)


def config(made: Made) -> CampaignConfig:
    section = made.config.selection.model_copy(update={"evidence": "labels"})
    return made.config.model_copy(update={"selection": section})


def test_a_gain_floor_that_starves_two_rounds_is_named_with_what_to_change(made: Made) -> None:
    rounds = [facts(Funnel(160, 112, 2, 2, 0.04, 0.003)), facts(Funnel(159, 139, 6, 4, 0.04, 0.003))]
    said = starving(rounds, config(made))
    assert "2 and 4 places of 29" in said
    assert "a gain of at least 0.003" in said
    assert "6 of 139" in said
    assert "selection.settings.gain" in said
    assert starving(rounds[1:], config(made)) == ""  # one round is no habit


def test_a_sigma_that_starves_is_named_and_full_batches_are_not(made: Made) -> None:
    few = facts(Funnel(160, 3, 3, 3, 0.0386))
    assert "a σ_F of at least 38.6 meV/Å, let only 3 of 160" in starving([few, few], config(made))
    full = facts(Funnel(160, 112, 112, 27, 0.0386))
    assert starving([few, full], config(made)) == ""
    assert starving([full, full], config(made)) == ""
    assert starving([facts(Funnel(160, 112, 112, 5)), facts(Funnel(160, 112, 112, 5))], config(made))


def test_the_way_from_candidates_to_labels_is_told_with_a_queue_too() -> None:
    one = facts(Funnel(160, 112, 40, 20))
    assert one.choice == "160 candidates → 112 uncertain → 40 also new → 20 picked + 1 audit of 30 wanted"
    assert "→ 50 queued → 20 picked" in replace(one, queued=50).choice


def test_explain_says_which_keys_a_frame_passes(made: Made) -> None:
    path = made.paths.batch(1)
    content = read_json(path)
    content["facts"]["funnel"] = {
        "candidates": 9, "uncertain": 4, "new": 1, "picked": 1, "threshold": 1e9, "floor": -1e9,
    }  # fmt: skip
    write_json(path, content)
    record = CampaignRecord.read(made.root)
    snapshot = record.exploration(1, "w00").snapshots[0].id  # type: ignore[union-attr]
    said = explain(made.root, snapshot)
    assert "First key: σ" in said
    assert "fails. Second key: gain" in said
    assert said.count("passes.") == 1


def test_a_forecast_scales_labels_and_counts_rounds_left(made: Made, tmp_path: Path) -> None:
    record = CampaignRecord.read(made.root)
    usage = Usage()
    assert forecast(record.state, made.config, usage) is None  # nothing is known of times yet
    usage.waits_per_round = [{}, {"md": 10.0, "labelling": 5.0, "training": 20.0}]
    usage.round_ends = {0: (0.0, 0.0), 1: (40 / 3600, 0.0)}
    found = forecast(record.state, made.config, usage)
    assert found is not None
    batch, asked = made.config.selection.batch, record.rounds[1].asked
    growth = found.round_s - (10 + 5 * batch / asked)  # what the first explored round took beside came once
    assert growth == pytest.approx(20.0)  # auto updates are at their least for so few labels
    assert found.rounds == 2
    settings = made.config.training.build()
    longer = FINISHING * settings.updates_of(30, warm=False) / settings.updates_of(30, warm=True)
    assert found.rest_s == pytest.approx(2 * found.round_s + 20 * longer)
    assert "2 rounds until a limit" in found.words
