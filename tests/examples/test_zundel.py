"""The demo's campaign, shortened by its own keys."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import tomli_w

from support.paths import EXAMPLES
from tentpole import CampaignRecord

pytestmark = pytest.mark.slow

HOME = EXAMPLES / "01_zundel"


def test_the_zundel_campaign_runs_to_a_verdict_and_a_report(tmp_path: Path) -> None:
    pytest.importorskip("tblite")
    content = tomllib.loads((HOME / "campaign.toml").read_text())
    content["stop"] = {"rounds": 1}
    content["training"] |= {"updates": 30, "channels": 4, "finishing": False}
    content["explore"] |= {"steps": 30}
    content["validation"]["frames"] = 6
    content["committee"] = {"members": 2}
    (tmp_path / "campaign.toml").write_text(tomli_w.dumps(content))
    (tmp_path / "zundel.xyz").write_text((HOME / "zundel.xyz").read_text())
    for words in (["run", "campaign.toml", "--dir", "run"], ["report", "run"]):
        command = [sys.executable, "-m", "tentpole", *words]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert ended.returncode == 0, ended.stderr
    facts = CampaignRecord.read(tmp_path / "run").to_json()
    assert facts["verdict"]["kind"] == "BUDGET"
    assert facts["failed_labels"] == 0
    assert (tmp_path / "run" / "report" / "index.html").exists()
