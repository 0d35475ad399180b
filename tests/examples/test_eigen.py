"""The Eigen example, shortened by its own arguments."""

import importlib.util
from pathlib import Path

import pytest

from support.paths import EXAMPLES

pytestmark = pytest.mark.slow

HOME = EXAMPLES / "06_eigen_on_the_fly"


def test_the_zundel_committee_learns_the_eigen_cation(tmp_path: Path) -> None:
    pytest.importorskip("tblite")
    pytest.importorskip("matplotlib")
    spec = importlib.util.spec_from_file_location("eigen", HOME / "eigen.py")
    assert spec is not None
    assert spec.loader is not None
    eigen = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(eigen)
    rows = eigen.main(
        tmp_path / "run",
        frames=8,
        stop={"rounds": 1},
        explore={"steps": 20},
        validation={"frames": 3},
        training={"updates": 20, "channels": 4, "finishing": False},
        committee={"members": 2},
        selection={"batch": 3},
    )
    assert [row["labels"] for row in rows] == [0, 3]
    assert all(row["sigma"] > 0 and row["error"] > 0 for row in rows)
    assert (tmp_path / "run" / "eigen.png").stat().st_size > 10_000
