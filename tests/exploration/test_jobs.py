"""Jobs of walkers side by side: shards and checkpoints are those of each walker by itself, killed or not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from support.small_models import ZUNDEL, write_small_members
from tentpole.committee.cached import committee_in
from tentpole.entropy import Covariance, FingerprintSettings, make_fingerprint
from tentpole.exploration import Exploration, ExploreSettings, jobs
from tentpole.exploration.files import read_exploration
from tentpole.exploration.health import HealthLimits
from tentpole.exploration.jobs import ScoreJob, WalkerJob, run_walkers, score_frames
from tentpole.exploration.random_numbers import WalkerSeed
from tentpole.records import Condition
from tentpole.training.network_voter import NetworkVoter, members_in

Make = Callable[[str], list[WalkerJob]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_members(tmp_path_factory.mktemp("models"))


@pytest.fixture
def make(models: Path, tmp_path: Path) -> Make:
    """Jobs of four walkers, two of them biased, one so hot that it is sent back, in a folder of that name."""
    settings = FingerprintSettings(cutoff=3.0, n_max=10)
    covariance = Covariance()
    covariance.add(make_fingerprint(settings).fingerprints(ZUNDEL))

    def made(name: str) -> list[WalkerJob]:
        root = tmp_path / name
        for folder in ("snapshots", "walkers"):
            (root / folder).mkdir(parents=True)
        return [
            WalkerJob(
                root=root,
                shard=root / "snapshots" / f"w{k}.h5",
                earlier=(),
                checkpoint=root / "walkers" / f"w{k}.h5",
                progress=root / "walkers" / f"w{k}.txt",
                round=1,
                id=f"w{k}",
                seed=WalkerSeed(0, 1, k, 2),
                condition=Condition("zundel", (300.0, 500.0, 700.0, 4000.0)[k]),
                start=ZUNDEL,
                models=models,
                driver=0,
                voters=(),
                dtype="float64",
                evaluation="own",
                ratio=0.3 * (k % 2),
                entropy="logdet",
                fingerprint=settings,
                species=(1, 8),
                covariance=covariance,
                settings=ExploreSettings(
                    steps=20, snapshot_every=5, health=HealthLimits(max_energy_rise_eV_per_atom=0.4)
                ),
                checkpoint_seconds=1e-6,
            )
            for k in range(4)
        ]

    return made


def same(one: Exploration, other: Exploration) -> bool:
    """All but the times."""
    frames = zip(one.snapshots, other.snapshots, strict=True)
    return (
        np.array_equal(one.walker.atoms.positions, other.walker.atoms.positions)
        and np.array_equal(one.walker.atoms.get_momenta(), other.walker.atoms.get_momenta())
        and one.walker.rng == other.walker.rng
        and one.mishaps == other.mishaps
        and repr(one.scores) == repr(other.scores)
        and all(np.array_equal(a.atoms.positions, b.atoms.positions) for a, b in frames)
    )


@pytest.mark.slow
def test_walkers_side_by_side_write_what_each_writes_by_itself(make: Make, models: Path) -> None:
    together, alone = make("together"), make("alone")
    assert isinstance(members_in(models, "float64", "own").voters[0], NetworkVoter)
    assert run_walkers(together) == [job.shard for job in together]
    for job in alone:
        run_walkers([job])
    found = [(read_exploration(a.shard), read_exploration(b.shard)) for a, b in zip(together, alone, strict=True)]
    assert all(same(*pair) for pair in found)
    assert any(one.mishaps for one, _ in found)
    assert not list(together[0].root.glob("walkers/*"))


def test_a_bias_over_the_dataset_pushes_away_from_what_is_labelled(make: Make) -> None:
    plain, biased = make("plain")[1], make("biased")[1]
    for job in (plain, replace(biased, entropy="dataset")):
        run_walkers([job])
    one, other = (read_exploration(job.shard) for job in (plain, biased))
    assert other.walker.bias_strength > 0
    assert not np.allclose(one.walker.atoms.positions, other.walker.atoms.positions)
    blocks = replace(plain.fingerprint, per_species=True)
    covariance = Covariance()
    covariance.add(make_fingerprint(blocks, (1, 8)).fingerprints(ZUNDEL))
    third = replace(make("blocks")[1], entropy="dataset", fingerprint=blocks, covariance=covariance)
    run_walkers([third])
    assert read_exploration(third.shard).walker.bias_strength > 0


@pytest.mark.slow
def test_a_killed_job_goes_on_from_its_walkers_checkpoints_bit_for_bit(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, killed = make("whole"), make("killed")
    run_walkers(whole)
    write, written = jobs.write_exploration, []

    def killing(path: Path, state: Exploration) -> None:
        write(path, state)
        written.append(path)
        if len(written) == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "write_exploration", killing)
    with pytest.raises(KeyboardInterrupt):
        run_walkers(killed)
    monkeypatch.setattr(jobs, "write_exploration", write)
    assert list(killed[0].root.glob("walkers/*.h5"))
    run_walkers(killed[:3])  # beside others than before
    run_walkers(killed)
    assert all(same(read_exploration(a.shard), read_exploration(b.shard)) for a, b in zip(whole, killed, strict=True))


def test_scores_do_not_depend_on_what_else_is_scored(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    one = make("scores")[0]
    frames = []
    for seed in range(5):
        frames.append(ZUNDEL.copy())
        frames[-1].rattle(0.1, seed=seed)
    job = ScoreJob(one.models, (), "float64", "own", one.fingerprint, one.species, one.covariance, tuple(frames))
    together = score_frames(job)
    assert together == [score_frames(replace(job, frames=(atoms,)))[0] for atoms in frames]
    monkeypatch.setattr(jobs, "AT_ONCE", 2)
    assert score_frames(job) == together
    by_mace = score_frames(replace(job, evaluation="mace"))
    np.testing.assert_allclose([s.force_std for s in by_mace], [s.force_std for s in together], rtol=1e-9)
    assert committee_in(one.models, "float64").voters[0] is not members_in(one.models, "float64", "own").voters[0]
