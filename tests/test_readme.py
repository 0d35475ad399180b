"""What the README shows works as it stands."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from support.paths import TOP
from tentpole.selection import KINDS
from tentpole.testing import tiny_committee

README = (TOP / "README.md").read_text()


@pytest.mark.slow
def test_the_ase_script_runs_as_printed(tmp_path: Path) -> None:
    script = next(block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "EntropyBias" in block)
    tiny_committee(tmp_path / "runs" / "zundel" / "models" / "r000")
    ended = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"\[.*\] -?\d", ended.stdout, re.DOTALL)


def test_the_page_of_keys_names_every_rule_and_every_key_of_the_demo() -> None:
    page = (TOP / "examples" / "CAMPAIGN.md").read_text(encoding="utf-8")
    assert all(kind in page for kind in KINDS)
    campaign = tomllib.loads((TOP / "examples/01_zundel/campaign.toml").read_text(encoding="utf-8"))
    assert all(key in page for key in campaign)


def test_every_page_that_the_readme_names_is_there() -> None:
    for name in re.findall(r"\]\(([^)#]+)\)", README):
        assert name.startswith("https://") or (TOP / name).is_file(), name


def test_the_guide_explains_the_words_that_a_campaign_prints() -> None:
    guide = (TOP / "examples" / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", guide.partition("## Words")[2], re.MULTILINE))
    explained = {word.strip() for names in rows for word in names.split(",")}
    assert {"audit frame", "candidate", "driver", "gain", "member", "miss rate", "two_key", "voter"} <= explained
    assert all(len(meaning.split()) > 3 for word, meaning in rows.items() if word not in ("word", "---"))


def test_importing_the_package_does_nothing(tmp_path: Path) -> None:
    script = "import sys, tentpole, os; print(sorted(set(sys.modules) & {'torch', 'mace', 'numpy', 'pydantic'}))"
    ended = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, env=os.environ)
    assert ended.stdout.strip() == "[]"
    assert list(tmp_path.iterdir()) == []
