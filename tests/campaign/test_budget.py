"""The budget: hours and core-hours are counted once, survive any kill, stop a campaign in mid-round, and are told."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk, molecule

from tentpole import Campaign, CampaignRecord
from tentpole.campaign.batches import Request, read_outcome
from tentpole.campaign.budget import budget
from tentpole.campaign.ledger import Ledger, unwritten
from tentpole.campaign.paths import CampaignPaths
from tentpole.campaign.usage import Usage
from tentpole.execution.metering import SPENT, metered, readings
from tentpole.execution.ownership import is_in_use, own_folder
from tentpole.labeling import Outcome, Task, label_all
from tentpole.labeling.references import load as load_reference
from tentpole.storage.journal import Journal, read
from tentpole.storage.labels import write_label

pytestmark = pytest.mark.slow

Make = Callable[..., Path]


def dead() -> int:
    """The pid of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def opened(root: Path) -> Ledger:
    paths = CampaignPaths(root)
    return Ledger(paths, Journal(paths.journal), usage(root))


def usage(root: Path) -> Usage:
    return Usage(read(CampaignPaths(root).journal))


def note_of(root: Path, pid: int, reading: dict[str, float], name: str = "md_1") -> Path:
    path = own_folder(root / SPENT, name, pid)
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(reading))
    return path


def test_what_a_killed_worker_used_is_counted_once_by_the_next_driver(tmp_path: Path) -> None:
    note = note_of(tmp_path, dead(), {"md": 30.0, "scoring": 6.0})
    assert unwritten(CampaignPaths(tmp_path), set()) == {"md": 30.0, "scoring": 6.0}
    kept = note.read_text()
    assert opened(tmp_path).core_hours * 3600 == pytest.approx(36.0)
    assert not note.exists()
    note.write_text(kept)  # as after a kill between journal and deletion
    assert opened(tmp_path).core_hours * 3600 == pytest.approx(36.0)
    assert not unwritten(CampaignPaths(tmp_path), usage(tmp_path).counted)
    assert usage(tmp_path).core_seconds["md"] == 30.0


def test_what_runs_is_counted_too_and_not_taken_for_ended(tmp_path: Path) -> None:
    ledger = opened(tmp_path)
    note_of(tmp_path, os.getpid(), {"md": 7.0})
    assert ledger.core_hours * 3600 == pytest.approx(7.0)
    assert len(readings(tmp_path, ended=False)) == 1


def test_a_label_cut_off_by_a_kill_is_counted_from_its_folder(tmp_path: Path) -> None:
    folder = own_folder(tmp_path / "work", "a-b", dead())
    folder.mkdir(parents=True)
    (folder / "alive").write_text("12.5")
    assert opened(tmp_path).core_hours * 3600 == pytest.approx(12.5)
    assert opened(tmp_path).core_hours * 3600 == pytest.approx(12.5)


def test_a_label_of_other_physics_is_counted_once(tmp_path: Path) -> None:
    asked, refused = Request("r000-0000", bulk("Cu"), "0" * 16, None, None), "1" * 16
    label = replace(asked.label(0.0, np.zeros((1, 3)), core_s=10.0), reference=refused)
    write_label(tmp_path, label)
    ledger = opened(tmp_path)  # the driver was killed before it heard of the label: it is counted from its file
    ledger.failed(asked.name, "other_physics", 0.0)
    assert opened(tmp_path).core_hours * 3600 == pytest.approx(10.0)
    (tmp_path / "refused").mkdir()
    paths = CampaignPaths(tmp_path / "refused")
    with Journal(paths.journal) as journal:
        Ledger(paths, journal, Usage()).failed(asked.name, "other_physics", 10.0)
    write_label(paths.root, label)
    assert opened(paths.root).core_hours * 3600 == pytest.approx(10.0)


def test_hours_of_a_killed_driver_reach_to_its_last_sign_of_life(tmp_path: Path) -> None:
    first = opened(tmp_path)
    note_of(tmp_path, dead(), {first.driver: 7200.0}, "driver.1_1")
    second = opened(tmp_path)
    assert second.hours == pytest.approx(2.0, abs=1e-3)
    assert second.core_hours == 0.0
    assert usage(tmp_path).hours == pytest.approx(2.0, abs=1e-3)


def test_a_meter_divides_by_phase_and_believes_what_it_is_told(tmp_path: Path) -> None:
    with metered(tmp_path, "md", cores=4) as meter:
        meter.divide(md=3.0, scoring=1.0)
        meter.exactly = 8.0
    assert list(readings(tmp_path, ended=True).values()) == [{"md": 6.0, "scoring": 2.0}]


def slow(folder: Path, seconds: float) -> str:
    (folder / "slow.toml").write_text(f'parent = "mock"\n[parameters]\nseconds = {seconds}\n')
    return "slow.toml"


def test_core_hours_stop_a_campaign_in_mid_round_and_a_larger_budget_goes_on(
    campaign_file: Make, tmp_path: Path
) -> None:
    reference = slow(tmp_path, 0.3)
    many = {"kind": "rattle", "count": 14, "stdev_A": [0.05]}
    path = campaign_file(reference=reference, initial=many, stop={"rounds": 0, "core_hours": 0.2 / 3600})
    with Campaign(path, tmp_path / "run") as campaign:
        verdict = campaign.run()
        assert verdict.kind == "BUDGET"
        assert "core-hours" in verdict.reason
        assert "; round 0 " in verdict.reason
        assert verdict.evidence
    done = len(list((tmp_path / "run/labels").glob("*/*.json")))
    told = [event for event in read(tmp_path / "run/journal.jsonl") if event["event"] == "label"]
    assert len(told) == done > 0
    assert not any(map(is_in_use, (tmp_path / "run/work").glob("tmp-*")))  # what had just begun is taken back
    used = CampaignRecord.read(tmp_path / "run").budget.used["core_hours"]
    assert used * 3600 >= 0.3 * done
    with Campaign(path, tmp_path / "run") as campaign:
        assert campaign.ask() == []  # it stays ended
    larger = campaign_file(reference=reference, initial=many, stop={"rounds": 0, "core_hours": 1.0})
    with Campaign(larger, tmp_path / "run") as campaign:
        assert "rounds of 0" in campaign.run().reason
    assert len(read_outcome(CampaignPaths(tmp_path / "run"), 0).accepted) == 14
    facts = CampaignRecord.read(tmp_path / "run").budget
    assert facts.core_seconds["labelling"] >= 14 * 0.3
    assert facts.core_seconds["training"] > 0
    assert facts.left["core_hours"] == pytest.approx(1.0 - facts.used["core_hours"])


class ByHand(Executor):
    """Starts two tasks, the others wait; `end` finishes one."""

    def __init__(self) -> None:
        self.futures: list[Future[Outcome]] = []

    def submit(self, fn: Any, /, task: Any) -> Any:
        self.futures.append(Future())
        if len(self.futures) <= 2:
            self.futures[-1].set_running_or_notify_cancel()
        return self.futures[-1]


def test_once_it_is_enough_what_runs_is_finished_and_the_rest_taken_back(tmp_path: Path) -> None:
    reference, executor, told = load_reference("mock"), ByHand(), list[str]()
    tasks = [Task(tmp_path, reference, molecule(name)) for name in ("H2O", "CH4", "NH3", "CO")]

    def enough() -> bool:
        executor.futures[1].set_result(Outcome("second", True))
        return True

    def submitted() -> None:
        told.append(f"{len(executor.futures)} submitted")
        executor.futures[0].set_result(Outcome("first", True))

    found = label_all(tasks, executor, submitted=submitted, enough=enough)
    assert [outcome.name for outcome in found] == ["first", "second"]
    assert told == ["4 submitted"]
    assert [future.cancelled() for future in executor.futures] == [False, False, True, True]


def test_hours_end_it_before_the_next_long_step(campaign_file: Make, tmp_path: Path) -> None:
    with Campaign(campaign_file(stop={"hours": 1e-9}), tmp_path / "run") as campaign:
        assert campaign.ask() == []
        assert campaign.verdict is not None
        assert campaign.verdict.kind == "BUDGET"
        assert "hours" in campaign.verdict.reason


def test_the_projection_follows_the_rate_of_the_last_rounds() -> None:
    ticks = iter(range(100))
    events: list[dict[str, Any]] = [{"event": "opened", "elapsed_s": 0.0}]
    for number in range(3):
        events.append({"event": "spent", "elapsed_s": 0.0, "core_s": {"md": 360.0}, "ids": [str(next(ticks))]})
        events.append({"event": "round done", "round": number, "elapsed_s": 1800.0 * (number + 1)})
    facts = budget({"labels": 50, "core_hours": 1.0}, [10, 10, 10], 3, Usage(events), {})
    assert facts.used == {"labels": 30, "rounds": 2, "hours": 1.5, "core_hours": pytest.approx(0.3)}
    assert facts.left["labels"] == 20
    assert facts.left["hours"] is None
    projected = facts.projected
    assert projected is not None
    assert projected.ends_on == "labels"  # 20 labels are two rounds, 0.7 core-hours are seven
    assert projected.rounds == pytest.approx(2.0)
    assert projected.hours == pytest.approx(1.0)
    assert projected.core_hours == pytest.approx(0.2)
    assert projected.words.startswith("Estimate")
    assert budget({"labels": 50}, [10], 1, Usage(events[:3]), {}).projected is None
    assert budget({"labels": 30}, [10, 10, 10], 3, Usage(events), {}).words[-1] == "The limit of labels is reached"
