"""One small untrained committee of four for all tests of this folder."""

from pathlib import Path

import pytest

from tentpole.testing import tiny_committee


@pytest.fixture(scope="session")
def members(tmp_path_factory) -> Path:
    return tiny_committee(tmp_path_factory.mktemp("tiny"), dtype="float64")
