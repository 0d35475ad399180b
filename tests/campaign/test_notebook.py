"""How a campaign looks in a notebook."""

from pathlib import Path

import pytest

from support.made_campaign import Made
from tentpole.campaign.notebook import table
from tentpole.campaign.record import CampaignRecord, Evidence, Verdict


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Made(tmp_path_factory.mktemp("made")).initial()
    made.round()
    return made.root


def test_a_verdict_is_a_table_with_its_meaning() -> None:
    verdict = Verdict("BUDGET", "3 rounds of 3 are done", (Evidence("mishaps < 1", 0.0, 0.0, True),))
    shown = verdict._repr_html_()
    assert "<b>BUDGET</b>: 3 rounds of 3 are done" in shown
    assert "mishaps &lt; 1" in shown
    assert "raise the limit" in shown


@pytest.mark.slow
def test_a_record_is_its_rounds_and_shows_its_page(root: Path) -> None:
    record = CampaignRecord.read(root)
    shown = record._repr_html_()
    assert "round 2, MD 0 %, not running" in shown
    assert shown.count("<tr>") == 3
    page = record.show()
    assert page.path == record.paths.report / "index.html"
    assert page._repr_html_().startswith("<iframe")


def test_text_in_a_table_is_text() -> None:
    assert "<script>" not in table(["<script>"], [["<script>"]])
