"""A few attacks of each kind: bad inputs, edited folders, a killed worker, a race, a move, modules of other people."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.paths import TOP

pytestmark = pytest.mark.slow

KINDS = {
    "answers", "campaign file", "command lines", "folders", "imports", "kills", "models", "moves", "orphans",
    "permissions", "pools", "races", "steps", "structures",
}  # fmt: skip


def test_attacks_are_refused_in_words_and_cost_nothing(tmp_path: Path) -> None:
    command = [sys.executable, str(TOP / "scripts" / "attack.py"), "--short", "--folder", str(tmp_path / "a")]
    command += ["--limit", "600"]  # what hangs does so for ever; what is slow is slow on a busy machine
    ended = subprocess.run(command, capture_output=True, text=True, timeout=3600)
    assert ended.stdout, ended.stderr
    facts = json.loads(ended.stdout.splitlines()[-1])
    assert facts["failures"] == []
    assert ended.returncode == 0
    assert set(facts["kinds"]) == KINDS
    assert facts["cases"] == sum(kind["good"] for kind in facts["kinds"].values()) >= 50
    assert facts["kinds"]["kills"]["kills"] >= 1
