"""Exploring ahead of the labels: a queue scored again, what is dropped and why, and the same result however it ran."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from tentpole import Campaign
from tentpole.campaign.batches import Method, read_batch
from tentpole.campaign.paths import CampaignPaths
from tentpole.campaign.selecting import choose_again
from tentpole.records import Candidate, Condition, Scores, Snapshot
from tentpole.report import explain
from tentpole.selection import make_rule
from tentpole.selection.base import Labelled
from tentpole.storage.journal import read
from tentpole.storage.labels import label_path, read_label

pytestmark = pytest.mark.slow

Make = Callable[..., Path]
AHEAD = {"temperatures_K": [600.0], "steps": 30, "snapshot_every": 5, "bias": {"ratios": [0.0, 0.3]}, "ahead": True}


def hashes(root: Path) -> dict[str, str]:
    """What must be the same: labels less their times, models, batches and what became of them."""
    found = {}
    for pattern in ("labels/*/*.json", "models/*/*.safetensors", "rounds/*/batch.json", "rounds/*/labels.json"):
        for path in sorted(root.glob(pattern)):
            data = path.read_bytes()
            if pattern.startswith("labels"):
                label = json.loads(data)
                data = json.dumps([label[key] for key in ("structure", "reference", "energy", "forces")]).encode()
            found[str(path.relative_to(root))] = hashlib.sha256(data).hexdigest()
    return found


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished campaign that explored ahead, made by run()."""
    from support.small_campaign import small_campaign

    folder = tmp_path_factory.mktemp("ahead")
    path = small_campaign(folder, explore=AHEAD, stop={"rounds": 3})
    with Campaign(path, folder / "run") as campaign:
        assert campaign.run().kind == "BUDGET"
    return folder


def test_a_queue_is_scored_again_and_what_is_dropped_says_why(done: Path) -> None:
    root = done / "run"
    paths = CampaignPaths(root)
    assert read_batch(paths, 1, Method("")).facts.queued is None  # the first committee is waited for
    told = [event for event in read(root / "journal.jsonl") if event["event"] == "dropped"]
    for number in (2, 3):
        facts = read_batch(paths, number, Method("")).facts
        batch = json.loads(paths.batch(number).read_text())["requests"]
        assert sum(request["audit"] for request in batch) == 2
        picked = sum(not request["audit"] for request in batch)
        assert facts.queued == picked + len(facts.dropped)
        assert [e["id"] for e in told if e["round"] == number] == [frame.id for frame in facts.dropped]
        for frame in facts.dropped:
            assert frame.force_std[0] != frame.force_std[1]
            assert "gain" in frame.reason
            assert frame.id not in {request["id"] for request in batch}
    assert "dropped: σ_F" in explain(root, told[0]["id"])


def test_ask_and_tell_give_the_same_as_run(done: Path, tmp_path: Path) -> None:
    with Campaign(done / "campaign.toml", tmp_path / "told") as campaign:
        while requests := campaign.ask():
            for request in reversed(requests):
                campaign.tell([read_label(label_path(done / "run", *request.name.split("-")))])
    assert hashes(tmp_path / "told") == hashes(done / "run")


def test_a_killed_campaign_that_explores_ahead_ends_like_an_undisturbed_one(done: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tentpole", "run", str(done / "campaign.toml"), "--dir", str(tmp_path / "run")]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    began = time.monotonic()
    while not (tmp_path / "run" / "snapshots/r003-w00.h5").exists() and driver.poll() is None:
        assert time.monotonic() - began < 900
        time.sleep(0.01)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    subprocess.run(command, stdout=subprocess.DEVNULL, timeout=900, check=True)
    assert hashes(tmp_path / "run") == hashes(done / "run")


def candidate(name: str, sigma: float, gain: float, failed: str = "") -> Candidate:
    snapshot = Snapshot(name, bulk("Cu"), Condition("cu", 300.0), "w00", 2, 10)
    return Candidate(snapshot, Scores(0.0, 0.0, sigma, sigma, gain, failed), np.ones((1, 3)) * gain)


def test_what_the_rule_no_longer_wants_is_dropped_and_audit_frames_stay() -> None:
    old = [candidate("a", 0.5, 1.0), candidate("b", 0.4, 1.0), candidate("c", 0.3, 1.0)]
    new = [candidate("a", 0.1, 0.1), candidate("b", 0.4, 0.9), candidate("c", np.nan, 0.9, "too close")]
    audit = [(candidate("x", 0.2, 1.0), candidate("x", np.nan, np.nan, "odd"))]
    known = Labelled(np.zeros((0, 3)), (), None)
    pairs = list(zip(old, new, strict=True))
    chosen, dropped = choose_again(audit, pairs, make_rule("uncertainty"), known, 2, np.random.default_rng(0))
    assert [(c.snapshot.id, audited) for c, _, audited in chosen] == [("x", True), ("b", False)]
    assert chosen[0][0].scores.force_std == 0.2  # the last that could be told
    assert [frame.id for frame in dropped] == ["a", "c"]
    assert "σ_F 500 -> 100 meV/Å" in dropped[0].reason
    assert "prefers 1 others of the queue, whose σ_F and gain are all higher" in dropped[0].reason
    assert "too close" in dropped[1].reason
    assert dropped[1].force_std == (0.3, None)
