"""The page of keys and the schema are made from the sections, and say something of every key."""

import json

import pytest

from support.paths import EXAMPLES
from tentpole.config.keys import _all_sections, json_schema, keys_page, legal_words, meanings
from tentpole.config.schema import CampaignConfig, MACESection
from tentpole.config.sections import branches, fields_of

SECTIONS = list(dict.fromkeys(_all_sections(CampaignConfig)))


def test_the_committed_page_is_the_one_that_is_made() -> None:
    assert (EXAMPLES / "CAMPAIGN.md").read_text() == keys_page(), "tentpole keys > examples/CAMPAIGN.md"


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_every_key_has_its_meaning(section: type) -> None:
    tables = {name for name, kind in fields_of(section).items() if set(_all_sections(kind))}
    assert set(meanings(section)) | tables == set(fields_of(section)) | tables


def test_the_page_names_defaults_bounds_and_the_words_that_are_legal() -> None:
    page = keys_page()
    assert "| `interactions` | `2` | whole number, 1 or more, at most 8 |" in page
    assert '`"per-atom"`, `"per-config"`' in page
    assert "list of numbers" in page
    assert '`rule = "two_key"`' in page
    assert "1000000000" not in page


def test_an_editor_is_told_types_bounds_and_meanings() -> None:
    schema = json_schema()
    json.dumps(schema)
    training = schema["$defs"]["MACESection"]["properties"]
    assert training["r_max"]["maximum"] == 20
    assert "cutoff" in training["r_max"]["description"]
    assert schema["properties"]["seed"]["description"]
    assert schema["additionalProperties"] is False


def test_types_are_told_in_words() -> None:
    assert legal_words(fields_of(MACESection)["epochs"]) == "whole number"
    assert list(branches(int | None)) == [int]
