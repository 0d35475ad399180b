"""Every fault once: kills, signals, full and read-only disks, damaged files, clocks, second drivers, cut writes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.paths import TOP

pytestmark = pytest.mark.slow


def test_after_every_fault_a_campaign_ends_like_an_undisturbed_one(tmp_path: Path) -> None:
    command = [sys.executable, str(TOP / "scripts" / "torture.py"), "--short", "--folder", str(tmp_path / "t")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=3600)
    facts = json.loads(ended.stdout.splitlines()[-1])
    assert ended.returncode == 0, ended.stdout
    assert set(facts["faults"]) >= {"kill", "term", "interrupt", "disk", "flip", "drivers", "write"}
    for name, count in facts["faults"].items():
        assert count["injected"] or count["skipped"], name
        assert count["failed"] == count["lost"] == count["recomputed"] == 0, name
        assert count["survived"] >= count["injected"] - count["refused"], name
    assert facts["faults"]["kill"]["injected"] >= 1
    assert facts["labels"] == 20
