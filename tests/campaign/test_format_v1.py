"""What version 0.1.0 wrote (formats 1): folders go on from where they were killed to the same end, and all is read."""

import json
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms

from support.same_end import differing, machine, manifest
from tentpole import Campaign, Committee
from tentpole.cli.app import exit_status

pytestmark = pytest.mark.slow

V1 = Path(__file__).parents[1] / "data" / "v1"
MADE = json.loads((V1 / "finished_manifest.json").read_text())
DIFFERENT = {key for key, value in machine().items() if MADE["machine"].get(key) != value}
needs_the_same_machine = pytest.mark.skipif(
    bool(DIFFERENT), reason=f"last bits depend on {', '.join(sorted(DIFFERENT))}, which differ here"
)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The campaign that was killed in its MD, run to its end by this version."""
    folder = tmp_path_factory.mktemp("v1") / "exploring"
    shutil.copytree(V1 / "exploring", folder)
    shutil.copytree(V1 / "halfway" / "models", folder / "models")
    assert list(folder.glob("walkers/*.h5"))
    with Campaign(folder) as campaign:
        assert campaign.verdict is None
        assert campaign.round == 2
        verdict = campaign.run()
    assert verdict.kind == "BUDGET"
    return folder


def lost(before: Path, now: Path) -> list[str]:
    """What of a folder is missing or other now."""
    old, new = manifest(before), manifest(now)
    return [name for name in old if new.get(name) != old[name]]


def test_what_is_frozen_is_what_was_made() -> None:
    finished = manifest(V1 / "finished")
    assert not {name for name in finished if MADE["things"][name] != finished[name]}
    left_out = {name for name in MADE["things"] if name not in finished}
    assert all(name.startswith(("models/r000/", "models/r001/", "models/r002/")) for name in left_out)


def test_a_campaign_killed_in_its_md_goes_on_from_the_checkpoint_to_a_verdict(ended: Path) -> None:
    assert lost(V1 / "exploring", ended) == []
    assert not list(ended.glob("walkers/*.h5"))
    assert len(list(ended.glob("rounds/r*/done.json"))) == 4
    assert len(list(ended.glob("models/*/*.safetensors"))) == 8
    assert len(list(ended.glob("snapshots/*.h5"))) == 6


@needs_the_same_machine
def test_it_ends_with_the_same_labels_models_and_batches_bit_for_bit(ended: Path) -> None:
    assert differing(manifest(ended), MADE["things"]) == []


def test_a_campaign_killed_while_it_was_told_labels_asks_for_the_others(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(V1 / "halfway", tmp_path / "halfway"))
    batch = json.loads((folder / "rounds" / "r002" / "batch.json").read_text())["requests"]
    with Campaign(folder) as campaign:
        assert campaign.round == 2
        requests = campaign.ask()
    assert [request.id for request in requests] == [entry["id"] for entry in batch[2:]]
    for request, entry in zip(requests, batch[2:], strict=True):
        assert request.atoms.positions.tolist() == entry["atoms"]["positions"]
        assert request.reason == entry["reason"]
        assert (V1 / "finished" / "labels" / request.name[:2] / f"{request.name}.json").exists()
    assert lost(V1 / "halfway", folder) == []


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """The undisturbed campaign, as it was written."""
    return Path(shutil.copytree(V1 / "finished", tmp_path / "finished"))


@pytest.fixture
def tentpole(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., str]]:
    """The command, in this process: what `python -m tentpole` prints."""
    on_term = signal.getsignal(signal.SIGTERM)
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")

    def command(*words: str | Path) -> str:
        monkeypatch.setattr(sys, "argv", ["tentpole", *map(str, words)])
        status = exit_status()
        said = capsys.readouterr()
        assert not status, said.out + said.err
        return said.out

    yield command
    signal.signal(signal.SIGTERM, on_term)


def test_status_and_explain_read_a_finished_folder(finished: Path, tentpole: Callable[..., str]) -> None:
    facts = json.loads(tentpole("status", finished, "--json"))
    assert facts["verdict"]["kind"] == "BUDGET"
    assert facts["verdict"]["reason"] == "3 rounds of 3 are done"
    assert len(facts["rounds"]) == 4
    assert facts["labels"] == 8 + 3 + 4 + 4
    assert facts["validation_labels"] == 20
    assert "gain" in tentpole("explain", finished, "r002-w01-000055")


def test_report_reads_a_finished_folder(finished: Path, tentpole: Callable[..., str]) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    tentpole("report", finished, "--out", finished.parent / "report")
    assert "BUDGET" in (finished.parent / "report" / "index.html").read_text()


def test_export_reads_a_finished_folder(finished: Path, tentpole: Callable[..., str]) -> None:
    tentpole("export", finished, "--out", finished.parent / "export")
    assert (finished.parent / "export" / "dataset.extxyz").exists()
    models = {file.name for file in (finished.parent / "export").glob("*.model")}
    assert models == {"member-0.model", "member-1.model", "mean.model"}


@pytest.mark.parametrize("name", ["halfway/models/r000", "members/shallow"])
def test_members_predict_what_they_did(name: str) -> None:
    known = json.loads((V1 / "members" / "predictions.json").read_text())[name]
    frames = [Atoms(k["numbers"], positions=k["positions"], cell=k["cell"], pbc=k["pbc"]) for k in known]
    committee = Committee.load(V1 / name, device="cpu", dtype="float64")
    said = committee.evaluate(frames, stress=True)
    assert committee.size == 2
    for k, frozen in enumerate(known):
        np.testing.assert_allclose(said.energies[:, k], frozen["energies"], rtol=1e-6)
        np.testing.assert_allclose(said.forces[k], frozen["forces"], rtol=1e-6, atol=1e-8)
        if all(frozen["pbc"]):
            np.testing.assert_allclose(said.stresses[:, k], frozen["stresses"], rtol=1e-6, atol=1e-9)


def test_a_pool_is_read_as_it_was_written() -> None:
    from tentpole.benchmarks.pool import read

    pool, known = read(V1 / "pool.h5"), json.loads((V1 / "pool.json").read_text())
    assert list(pool.notes) == known["notes"]
    assert list(pool.columns) == list(known["columns"])
    for name, column in known["columns"].items():
        values = pool.columns[name].tolist()
        assert [None if value != value else value for value in values] == column
    assert pool.structures is not None
    for atoms, frozen in zip(pool.structures, known["structures"], strict=True):
        assert (atoms is None) == (frozen is None)
        if atoms is not None:
            assert atoms.numbers.tolist() == frozen["numbers"]
            assert atoms.positions.tolist() == frozen["positions"]
            assert atoms.cell.tolist() == frozen["cell"]
            assert atoms.pbc.all()


def test_a_study_gives_the_learning_curves_that_it_gave() -> None:
    from tentpole.benchmarks.qbc import learning_curves

    curves, known = learning_curves(V1 / "qbc"), json.loads((V1 / "qbc_curves.json").read_text())
    assert set(curves) == set(known)
    for name, (n, values) in known.items():
        assert curves[name].n.tolist() == n
        np.testing.assert_allclose(curves[name].values, values, rtol=1e-12)
