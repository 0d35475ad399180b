"""Why a frame was labelled, or was not."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from support.made_campaign import MISHAP_AT, STEPS, Made
from tentpole import CampaignRecord
from tentpole.campaign.paths import CampaignPaths
from tentpole.errors import InputError
from tentpole.exploration.files import read_exploration
from tentpole.report import explain
from tentpole.storage.atomic import read_json
from tentpole.storage.labels import write_label

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return Made(tmp_path_factory.mktemp("explained")).initial().round().round()


def entries(root, number):
    return read_json(CampaignPaths(root).batch(number))["requests"]


def not_picked(root):
    picked = {e["id"] for e in entries(root, 1)}
    shard = read_exploration(CampaignPaths(root).shard(1, "w00"))
    return [
        (s.id, scores)
        for s, scores in zip(shard.snapshots, shard.scores, strict=True)
        if s.id not in picked and not scores.failed
    ]


def test_a_frame_picked_by_the_rule(made):
    entry = next(e for e in entries(made.root, 1) if not e["audit"])
    story = explain(made.root, entry["id"])
    assert f"{1000 * entry['scores']['force_std']:.0f} meV/Å" in story
    assert "Picked by the rule uncertainty" in story
    assert entry["reason"] in story
    assert "Label: accepted" in story
    assert "before training on it" in story


def test_ranks_are_among_the_candidates_of_its_round(made):
    best = max(entries(made.root, 1), key=lambda e: e["scores"]["force_std"])
    story = explain(made.root, best["id"])
    assert "Among the 14 candidates of round 1: rank 1 by σ_F" in story  # two walkers of 8, one failed in each


def test_an_audit_frame_says_so(made):
    entry = next(e for e in entries(made.root, 1) if e["audit"])
    assert "Picked for audit: drawn at random" in explain(made.root, entry["id"])


def test_a_frame_that_was_passed_over(made):
    id, scores = min(not_picked(made.root), key=lambda pair: pair[1].force_std)
    story = explain(made.root, id)
    assert "Not picked: the rule uncertainty took 4 frames" in story
    assert "come from its own condition, cu, 300 K" in story
    after = float(re.search(r"its gain would be (\S+) instead", story)[1].replace("−", "-"))
    assert after < scores.gain


def test_a_label_that_failed_tells_its_reason(made):
    entry = entries(made.root, 1)[-1]
    story = explain(made.root, entry["id"])
    assert "Label: failed, in quarantine (not converged: SCF did not converge in 200 steps)" in story


def test_a_frame_that_could_not_be_scored(made):
    assert "could not be scored (the members' forces are not finite)" in explain(made.root, f"r001-w00-{STEPS:06d}")


def test_a_step_at_which_the_walker_was_sent_back(made):
    story = explain(made.root, f"r001-w01-{MISHAP_AT:06d}")
    assert "close contact" in story
    assert "Cu0-Cu1 at 0.90 Å" in story


def test_initial_and_validation_structures_are_known(made):
    assert "initial: a rattled starting structure" in explain(made.root, "r000-0003")
    assert "validation: judges every committee" in explain(made.root, "validation-0002")


def test_a_frame_of_a_round_that_is_not_decided(tmp_path):
    made = Made(tmp_path).initial()
    made.explore()
    made.paths.batch(1).unlink()
    assert "Not labelled: its round is not decided yet." in explain(made.root, "r001-w00-000010")


def test_a_frame_that_waits_for_its_label(tmp_path):
    made = Made(tmp_path).initial()
    first = made.explore()[0]
    assert "Label: not there yet." in explain(made.root, first.id)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("r001-w00-000051", "r001-w00-000050"),
        ("r001-w1-000050", "r001-w01-000050"),
        ("r001_w00_000050", "r001-w00-000050"),
        ("r000-0033", "r000-0003"),
    ],
)
def test_an_unknown_id_is_answered_with_the_nearest_right_one(made, wrong, right):
    with pytest.raises(InputError, match=f'no snapshot "{wrong}"; did you mean "{right}"'):
        explain(made.root, wrong)


def test_an_id_like_no_other_is_answered_with_what_there_is(made):
    with pytest.raises(InputError, match=r"r001-w00 holds r001-w00-000010 to r001-w00-000080, 8 frames"):
        explain(made.root, "?")


def test_a_campaign_without_frames_says_so(tmp_path):
    with pytest.raises(InputError, match="no frames yet"):
        explain(Made(tmp_path).root, "r001-w00-000010")


def test_a_label_of_other_physics_is_a_failed_one(tmp_path):
    """A retry gave it; it lies among the labels, and trains nothing."""
    made = Made(tmp_path).initial().round()
    entry = entries(made.root, 1)[-1]
    failed = next(f for f in CampaignRecord.read(made.root).frames if f.request.id == entry["id"])
    label = failed.request.label(0.0, np.zeros((4, 3)))
    write_label(made.root, replace(label, reference="0123456789abcdef"))
    assert "Label: failed, in quarantine (not converged" in explain(made.root, entry["id"])
    frames = CampaignRecord.read(made.root).frames
    assert [f.outcome for f in frames if f.request.id == entry["id"]] == ["failed"]
    assert sum(f.outcome == "accepted" for f in frames if f.round == 1) == 4
