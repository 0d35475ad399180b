"""What `tentpole status --json` prints is what its published schema says, and keeps what was published."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from support.paths import DATA
from tentpole import CampaignRecord
from tentpole.campaign.status_schema import check_status, status_schema
from tentpole.cli.app import app

PUBLISHED = DATA / "status-schema-1.json"


def as_printed(folder: Path) -> Any:
    return json.loads(json.dumps(CampaignRecord.read(folder).to_json()))


def missing(published: Any, now: Any, at: str = "") -> list[str]:
    """What the published schema has and the present one lacks or says otherwise; new keys may have joined."""
    if isinstance(published, dict) and isinstance(now, dict):
        return [
            line
            for key, value in published.items()
            if key not in ("description", "title")
            for line in (missing(value, now[key], f"{at}/{key}") if key in now else [f"{at}/{key}"])
        ]
    if isinstance(published, list) and isinstance(now, list) and at.endswith("/required"):
        return [f"{at}/{key}" for key in published if key not in now]
    return [] if published == now else [at]


@pytest.mark.parametrize("name", ["finished", "halfway", "exploring"])
def test_the_status_of_a_campaign_is_as_published(name: str) -> None:
    check_status(as_printed(DATA / "v1" / name))


def test_the_schema_refuses_what_is_not_in_it() -> None:
    status = as_printed(DATA / "v1" / "finished")
    for wrong in (
        status | {"surprise": 1},
        status | {"labels": "ten"},
        {k: v for k, v in status.items() if k != "verdict"},
    ):
        with pytest.raises(ValidationError):
            check_status(wrong)


def test_nothing_that_was_published_is_gone() -> None:
    published = json.loads(PUBLISHED.read_text())
    assert missing(published, status_schema()) == []
    gone = json.loads(PUBLISHED.read_text())
    del gone["properties"]["labels"]
    assert missing(published, gone) == ["/properties/labels"]


def test_the_command_prints_both_schemas() -> None:
    said = CliRunner().invoke(app, ["schema", "status"])
    assert json.loads(said.stdout) == status_schema()
    assert "structures" in json.loads(CliRunner().invoke(app, ["schema"]).stdout)["properties"]
    assert "unknown schema" in str(CliRunner().invoke(app, ["schema", "stats"]).exception)
