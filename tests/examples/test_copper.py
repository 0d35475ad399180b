"""The copper example, shortened: a loop of one's own around ask and tell ends with a verdict."""

from __future__ import annotations

import importlib.util

import pytest

from support.paths import EXAMPLES
from tentpole import CampaignRecord
from tentpole.report import explain, write_report
from tentpole.storage.labels import label_files

pytestmark = pytest.mark.slow

SCRIPT = EXAMPLES / "02_copper_emt.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("copper_emt", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_copper_learns_from_labels_told_by_the_script(example, tmp_path, monkeypatch):
    asked = []
    label = example.label
    monkeypatch.setattr(example, "label", lambda request: (asked.append(request.name), label(request))[1])
    settings = {"rounds": 1, "repeat": 1, "temperatures_K": [300], "steps": 40, "members": 2, "updates": 20}
    verdict = example.main(tmp_path, **settings)
    assert verdict.kind == "BUDGET"
    root = tmp_path / "campaign"
    assert len(asked) == len(set(asked)) == sum(1 for _ in label_files(root))
    facts = CampaignRecord.read(root).to_json()
    assert [r["done"] for r in facts["rounds"]] == [True, True]
    assert facts["rounds"][1]["new_force_rmse"] > 0

    asked.clear()
    assert example.main(tmp_path, **settings) == verdict  # started again, it has nothing left to do
    assert asked == []

    page = write_report(root).read_text()
    assert verdict.reason in page
    picked = facts["rounds"][1]["asked"]
    assert picked == page.count('class="id">r001-')
    assert "candidates of round 1" in explain(root, page.split('class="id">')[1].split("<")[0])
