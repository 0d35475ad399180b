"""The benchmark of walkers runs, and says what it measured."""

import json
import sys

import pytest

from support.paths import TOP

pytestmark = pytest.mark.slow


def test_every_way_is_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.syspath_prepend(str(TOP / "scripts"))
    import bench_walkers

    try:
        monkeypatch.setattr(bench_walkers, "EVERY", 2)
        monkeypatch.setattr(bench_walkers, "FEW", 1)
        bench_walkers.main(["--systems", "zundel", "--walkers", "3", "--members", "2", "--blocks", "1"])
    finally:
        sys.modules.pop("bench_walkers", None)
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    rates = facts["zundel, 2 members"]["walker-steps per s"]
    assert list(rates) == ["ase", "processes", "alone", "lockstep 3"]
    assert all(rate > 0 for rate in rates.values())
    assert facts["zundel, 2 members"]["over ase"]["ase"] == 1.0
    assert facts["peak memory, MB"] > 0
