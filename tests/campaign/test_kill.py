"""SIGKILL at random instants: the same end, to the last bit, and nothing computed twice."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_killed_campaign_ends_like_an_undisturbed_one(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "torture.py"), "--kills", "3", "--folder", str(tmp_path / "t")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=900)
    facts = json.loads(ended.stdout.splitlines()[-1])
    assert ended.returncode == 0, ended.stdout
    assert facts["kills"] >= 2
    assert facts["differing"] == []
    assert facts["computed_twice"] == 0
    assert facts["labels"] == facts["computed"] == 20
    assert facts["models"] == 6
