from collections.abc import Callable
from pathlib import Path

import pytest

from support.small_campaign import small_campaign


@pytest.fixture
def campaign_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small campaign into this test's folder; keywords replace its top-level tables."""
    return lambda **changes: small_campaign(tmp_path, **changes)
