"""The page of a campaign: all that a reader asks, in one file that needs nothing else."""

from __future__ import annotations

import base64
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from types import SimpleNamespace

import pytest

from support.made_campaign import Made
from tentpole import CampaignRecord
from tentpole.errors import InputError, StateError
from tentpole.report import write_report
from tentpole.report.page import first_and_last

pytestmark = pytest.mark.slow

VOID = {"meta", "img", "br", "link", "hr", "path"}


class Parsed(HTMLParser):
    """Visible text, images, links, tags left open, ids."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.images, self.open, self.ids, self.tags = "", [], [], set(), set()
        self.wrong: list[str] = []
        self.feed(html)
        self.text = re.sub(r"\s+", " ", self.text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        given = dict(attrs)
        if "id" in given:
            self.ids.add(given["id"])
        if tag == "img":
            self.images.append(given)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID and (not self.open or self.open.pop() != tag):
            self.wrong.append(tag)

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text += data


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A campaign of three rounds that used its limit up, its page, and the page read."""
    root = Made(tmp_path_factory.mktemp("finished")).initial().round().round().round().verdict().root
    page = write_report(root)
    return root, page, Parsed(page.read_text())


def test_the_page_is_well_formed_and_its_links_lead_somewhere(finished):
    _, page, parsed = finished
    html = page.read_text()
    assert html.startswith("<!doctype html>")
    assert parsed.wrong == []
    assert parsed.open == []
    assert set(re.findall(r'href="#([^"]+)"', html)) <= parsed.ids


def test_the_page_needs_nothing_outside_itself(finished):
    _, page, parsed = finished
    html = page.read_text()
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\(", re.sub(r'src="data:[^"]+"', "", html))
    assert not parsed.tags & {"script", "link", "iframe"}
    assert all(image["src"].startswith("data:image/png;base64,") for image in parsed.images)


def test_every_heading_of_a_table_says_what_it_heads(finished):
    _, page, _ = finished
    headings = re.findall(r"<th\b[^>]*>", page.read_text())
    assert headings
    assert all("scope=" in heading for heading in headings)


def test_the_page_has_a_dark_side():
    css = resources.files("tentpole.report").joinpath("page.css").read_text(encoding="utf-8")
    assert "@media screen and (prefers-color-scheme: dark)" in css


def test_every_table_is_small_on_paper():
    css = resources.files("tentpole.report").joinpath("page.css").read_text(encoding="utf-8")
    screen, paper = css.split("@media print")
    sized = set(re.findall(r"(table\.\w+) \{ font-size", screen))
    assert "table.rounds" in sized
    assert all(f"{name} {{ font-size: 7pt" in paper for name in sized)


def test_every_figure_is_in_the_page_and_beside_it(finished):
    root, _, parsed = finished
    inside = {base64.b64decode(image["src"].partition(",")[2]) for image in parsed.images}
    beside = {path.stem: path.read_bytes() for path in (root / "report").glob("*.png")}
    assert inside == set(beside.values())
    assert set(beside) == {
        "learning-curve", "calibration", "sigma", "gain", "parity-first", "parity-last", "force-errors", "time", "map",
        "parity-energy",
    }  # fmt: skip
    assert all(data.startswith(b"\x89PNG") and len(data) > 5000 for data in beside.values())
    assert all(image["alt"] for image in parsed.images)


def test_labels_of_a_final_look_that_was_passed_are_in_no_training(finished):
    record = CampaignRecord.read(finished[0])
    last = record.rounds[-1]
    passed = replace(last, outcome=replace(last.outcome, passed=True))
    looked_at = SimpleNamespace(rounds=[*record.rounds[:-1], passed], validation_labels=record.validation_labels)
    before, after = first_and_last(record)[1], first_and_last(looked_at)[1]
    assert before.labels - after.labels == last.labels > 0


def test_the_verdict_stands_first_in_words_with_every_test(finished):
    _, page, parsed = finished
    assert parsed.text.index("Stopped by a limit") < parsed.text.rindex("Where it stands")
    assert "3 rounds of 3 are done" in parsed.text
    assert "BUDGET" in parsed.text
    rows = re.findall(r'<td class="state (\w+)">', page.read_text())
    assert len(rows) == 8  # the labels have no stress, and no target is stated for it: no row
    assert "✗ does not hold" in parsed.text
    assert re.search(r"audit frames judged, last 3 rounds ?3 ?≥ 20 ?✗ not yet", parsed.text)


def test_forces_are_told_in_meV(finished):
    _, _, parsed = finished
    assert re.search(r"≤ 50 meV/Å", parsed.text)
    assert " eV/Å, worst" not in parsed.text


def test_every_labelled_frame_is_there_with_its_reason(finished):
    root, page, parsed = finished
    frames = CampaignRecord.read(root).frames
    assert len(frames) == 6 + 4 + 3 * 5
    assert all(frame.request.id in parsed.text for frame in frames)
    assert all(frame.request.reason.removeprefix("audit: ").split(":")[0] in parsed.text for frame in frames)
    assert page.read_text().count('<span class="tag">audit</span>') == 3 + 1  # one a round, and the explanation


def test_what_failed_is_named_with_its_reason(finished):
    _, _, parsed = finished
    assert parsed.text.count("SCF did not converge in 200 steps") == 3
    assert "close contact" in parsed.text


def test_a_report_written_twice_is_the_same(finished, tmp_path):
    root, page, _ = finished
    assert write_report(root, tmp_path / "again").read_bytes() == page.read_bytes()


def test_a_report_leaves_the_campaign_as_it_was(tmp_path):
    root = Made(tmp_path).initial().root
    before = {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}
    write_report(root, tmp_path / "page")
    assert {p: p.read_bytes() for p in root.rglob("*") if p.is_file()} == before


def test_a_campaign_that_has_done_nothing_yet_has_a_page(tmp_path):
    parsed = Parsed(write_report(Made(tmp_path).root).read_text())
    assert "Not finished" in parsed.text
    assert "round 0, initial structures" in parsed.text
    assert "No structure has been asked for yet" in parsed.text
    assert parsed.images == []
    assert parsed.wrong == []


def test_a_campaign_after_its_first_committee_shows_that_one(tmp_path):
    root = Made(tmp_path).initial().root
    parsed = Parsed(write_report(root).read_text())
    found = {path.stem for path in (root / "report").glob("*.png")}
    assert found == {"learning-curve", "parity-last", "force-errors", "time", "map", "parity-energy"}
    assert "cannot be judged yet" in parsed.text
    assert "round 1, MD 0 %, not running" in parsed.text


def test_a_campaign_stopped_while_labelling_says_so_and_how_to_go_on(tmp_path):
    made = Made(tmp_path).initial().round()
    made.explore()
    parsed = Parsed(write_report(made.root).read_text())
    assert "round 2, labels" in parsed.text
    assert "5 waiting" in parsed.text
    assert f"tentpole run {made.root}" in parsed.text


def test_without_a_validation_set_new_labels_carry_the_curves(tmp_path):
    root = Made(tmp_path, validation=False).initial().round().round().root
    parsed = Parsed(write_report(root).read_text())
    found = {path.stem for path in (root / "report").glob("*.png")}
    assert {"learning-curve", "parity-first", "parity-last"} <= found
    assert "the new labels of round 2, before training on them" in parsed.text
    assert "on the validation set" not in parsed.text


def test_names_from_outside_cannot_become_markup(tmp_path):
    made = Made(tmp_path, failing=0).initial()
    request = made.explore()[0]
    from tentpole.storage.labels import quarantine

    quarantine(made.root, request.name, "killed", "<script>alert(1)</script>", request.atoms)
    html = write_report(made.root).read_text()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


@pytest.mark.parametrize("module", ["matplotlib", "jinja2"])
def test_a_missing_extra_is_named_with_the_command_that_installs_it(finished, monkeypatch, tmp_path, module):
    for name in [n for n in sys.modules if n.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf'{module}.*pip install "tentpole\[report\]"'):
        write_report(finished[0], tmp_path / "out")


def test_what_is_no_campaign_folder_is_refused(tmp_path: Path):
    with pytest.raises(StateError, match="not a campaign folder"):
        write_report(tmp_path)
