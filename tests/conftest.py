import os
from collections.abc import Callable
from pathlib import Path

import pytest

# before torch or numba is imported: as many tests run at a time as there are cores, and threads that wait for each
# other on cores that others need cost several times what they save; workers of campaigns have one thread each too
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from support.small_campaign import small_campaign  # noqa: E402
from tentpole.execution import starting  # noqa: E402

# pytest tells in a variable which test runs: no reason not to fork workers
starting.environment = lambda: {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}

LONGEST = (
    "campaign/test_torture.py",
    "campaign/test_campaign.py",
    "campaign/test_ahead.py",
    "training/test_mace_training.py",
    "cli/test_command.py",
    "benchmarks/qbc/test_run.py",
    "campaign/test_final_look.py",
    "examples/test_engines.py",
    "labeling/test_magnetism.py",
    "campaign/test_foundations.py",
    "training/test_stacked.py",
    "examples/test_zundel.py",
    "test_attack.py",
    "examples/test_eigen.py",
    "training/test_network.py",
)
"""Files that take longest: they begin first, so that none of them runs alone at the end."""


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: tests that start programs wait for them."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first; within a file the order stays."""
    here = Path(__file__).parent
    place = {here / name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(LONGEST)))


@pytest.fixture
def campaign_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small campaign into this test's folder; keywords replace its top-level tables."""
    return lambda **changes: small_campaign(tmp_path, **changes)
