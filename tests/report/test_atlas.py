"""The map of frames, the small pictures, and the chosen frames as a file."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.io import read

from support.made_campaign import Made
from tentpole.campaign.record import CampaignRecord
from tentpole.report import atlas, page, write_report
from tentpole.report.tables import in_meV
from tentpole.report.thumbnails import svg


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Made(tmp_path_factory.mktemp("made")).initial()
    made.round()
    return made.root


@pytest.mark.parametrize("atoms", [molecule("CH3CH2OH"), bulk("Cu", cubic=True), bulk("Si") * (6, 6, 6)], ids=str)
def test_a_thumbnail_shows_every_atom_within_its_square(atoms) -> None:
    drawn = svg(atoms, 84)
    circles = re.findall(r'<circle cx="([-\d.]+)" cy="([-\d.]+)" r="([\d.]+)"', drawn)
    assert len(circles) == min(len(atoms), 400)
    x, y, r = np.array(circles, dtype=float).T
    assert (x - r).min() >= 0
    assert (x + r).max() <= 84
    assert (y - r).min() >= 0
    assert (y + r).max() <= 84
    assert drawn.count("<line") == (12 if atoms.pbc.any() else 0)
    assert svg(atoms, 84) == drawn


def test_the_map_has_all_frames_and_its_page_needs_nothing_else(root: Path) -> None:
    record = CampaignRecord.read(root)
    found = atlas.atlas(record)
    assert found is not None
    kinds = {place.kind for place in found.places}
    assert kinds >= {"candidate", "audit", "initial", "validation"}
    assert len(found.xy) == len(found.places) == len({place.id for place in found.places})
    assert 0 < found.share <= 1
    html = atlas.page(found, "a <b> & c", "var Chemiscope = 1; // </script> <!--")
    assert "<b>" not in html
    assert not re.search(r'(src|href)="', html)
    assert html.count("</script>") == 2
    data = re.search(r"^const dataset = (.*);$", html, re.M)
    assert data is not None
    told = json.loads(data[1])
    assert len(told["structures"]) == len(found.places)
    assert all(len(one["values"]) == len(found.places) for one in told["properties"].values())
    assert told["structures"][0]["size"] == 4
    assert len(told["structures"][0]["cell"]) == 9


@pytest.mark.slow
def test_the_map_page_is_written_where_chemiscope_is(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    viewer = root / "viewer.js"
    viewer.write_text("var Chemiscope = {};")
    monkeypatch.setattr(page, "atlas_viewer", lambda: viewer)
    written = write_report(root, root / "with").read_text()
    assert (root / "with" / "map.html").exists()
    assert 'href="map.html"' in written
    monkeypatch.setattr(page, "atlas_viewer", lambda: None)
    written = write_report(root, root / "without").read_text()
    assert not (root / "without" / "map.html").exists()
    assert "chemiscope installed" in written
    chosen = read(root / "with" / "selected.xyz", ":")
    frames = [f for f in CampaignRecord.read(root).frames if f.round == 1]
    assert [atoms.info["id"] for atoms in chosen] == [f.request.id for f in frames]
    assert all(np.isfinite(atoms.info["force_std"]) for atoms in chosen)
    assert written.count("<svg class=") >= len(chosen)


def test_reasons_are_in_the_unit_of_the_columns() -> None:
    assert in_meV("σ 0.08136 at least 0.0386: gain 0.5").startswith("σ 81.4 meV/Å, at least 38.6: gain")
    assert in_meV("drawn at random") == "drawn at random"
