"""A training in a worker: found where it is done, waited for where another is at it, tried again where it was lost."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from support.worker_tasks import training_dies, training_dies_once
from tentpole.execution.local import local
from tentpole.execution.ownership import own_folder
from tentpole.training import node

pytestmark = pytest.mark.slow


def order(folder: Path, number: int = 0) -> dict[str, Any]:
    return {"id": number, "jobs": [{"out": folder / f"member-{number}", "folder": folder}]}


def test_a_member_that_is_there_is_not_trained_again(tmp_path: Path) -> None:
    (tmp_path / "member-0.json").write_text("{}")
    assert node.train_on_node(order(tmp_path)) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["member-0.json"]


def test_a_member_that_another_worker_is_at_is_waited_for(tmp_path: Path) -> None:
    own_folder(tmp_path, "member-0").mkdir()  # this process lives
    threading.Timer(0.6, (tmp_path / "member-0.json").write_text, ["{}"]).start()
    began = time.monotonic()
    assert node.train_on_node(order(tmp_path)) == 0
    assert time.monotonic() - began >= 0.5


def test_a_training_whose_worker_was_lost_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "train_on_node", training_dies_once)
    with local(2) as executor:
        ended = [answer for answer in node.train_all([order(tmp_path, k) for k in range(2)], executor, 0.2) if answer]
    assert sorted(ended) == [(0, 0), (1, 0)]


def test_a_worker_that_is_lost_each_time_ends_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "train_on_node", training_dies)
    with pytest.raises(node.TrainingError, match="3 workers in a row"), local(1) as executor:
        list(node.train_all([order(tmp_path)], executor, 0.2))


@pytest.mark.parametrize("comes_further", [True, False])
def test_a_training_longer_than_its_jobs_goes_on_while_it_comes_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, comes_further: bool
) -> None:
    jobs: list[int] = []

    def cut(_order: dict[str, Any]) -> int:
        jobs.append(len(jobs))
        if len(jobs) == 6:
            return 0
        checkpoint = tmp_path / "training-0-1.safetensors"
        if comes_further or not checkpoint.exists():
            checkpoint.write_text(str(jobs))
            os.utime(checkpoint, ns=(0, 10**9 * len(jobs)))
        raise RuntimeError("its time was up")

    monkeypatch.setattr(node, "train_on_node", cut)
    with ThreadPoolExecutor(1) as executor:
        if comes_further:
            assert [answer for answer in node.train_all([order(tmp_path)], executor, 0.2) if answer] == [(0, 0)]
        else:
            with pytest.raises(node.TrainingError, match="3 workers in a row"):
                list(node.train_all([order(tmp_path)], executor, 0.2))
    assert len(jobs) == (6 if comes_further else 4)  # the first left a checkpoint, three more came no further


def test_what_went_wrong_in_a_worker_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with ThreadPoolExecutor(1) as executor, pytest.raises(OSError, match="file"):
        list(node.train_all([order(tmp_path / "file")], executor, 0.2))
