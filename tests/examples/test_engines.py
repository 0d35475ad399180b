"""Campaigns driven from outside: a shell loop around a queue, jobflow, AiiDA."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from support.paths import EXAMPLES
from support.small_campaign import small_campaign
from tentpole import CampaignRecord

pytestmark = pytest.mark.slow

SBATCH = """#!/usr/bin/env bash
# Stands in for Slurm's: takes the options that the loop gives, and runs the command at once.
set -eu
[ "$1 $2 $3" = "--wait --quiet --output" ] && [ "$5" = --wrap ] || { echo "sbatch: $*" >&2; exit 1; }
exec bash -c "$6" > "$4" 2>&1
"""


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(name).stem, EXAMPLES / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def campaign(folder: Path) -> Path:
    return small_campaign(
        folder,
        stop={"rounds": 1},
        initial={"kind": "rattle", "count": 3, "stdev_A": [0.05]},
        selection={"rule": "uncertainty", "batch": 2, "audit": 0.5},
    )


def check(folder: Path) -> CampaignRecord:
    record = CampaignRecord.read(folder)
    assert record.verdict.kind == "BUDGET"
    assert [one.labels for one in record.rounds] == [3, 2]
    return record


def test_a_shell_loop_labels_by_jobs_to_a_verdict(tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "sbatch").write_text(SBATCH)
    (tools / "tentpole").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tentpole "$@"\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    environment = os.environ | {"PATH": f"{tools}:{os.environ['PATH']}"}
    source, folder = campaign(tmp_path), tmp_path / "run"
    words = [str(EXAMPLES / "09_shell_loop" / "loop.sh"), str(source), str(folder)]
    done = subprocess.run(words, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "BUDGET" in done.stdout
    record = check(folder)
    assert '"told_from"' in record.frames[0].label.read_text()
    again = subprocess.run(words, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr  # it has nothing left to do


def test_jobflow_runs_a_campaign_to_its_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("jobflow")
    monkeypatch.chdir(tmp_path)
    jobflow = example("10_jobflow.py")
    assert jobflow.main(str(campaign(tmp_path)), str(tmp_path / "run")) == "BUDGET: 1 rounds of 1 are done"
    check(tmp_path / "run")
    assert jobflow.main(str(tmp_path / "run"), str(tmp_path / "run")).startswith("BUDGET")


def test_aiida_keeps_the_provenance_of_every_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("aiida")
    monkeypatch.setenv("AIIDA_PATH", str(tmp_path / "aiida"))
    aiida = example("11_aiida.py")
    assert aiida.main(str(campaign(tmp_path)), str(tmp_path / "run")).startswith("BUDGET")
    record = check(tmp_path / "run")
    assert '"aiida_node"' in record.frames[0].label.read_text()
