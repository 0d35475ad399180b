"""Members that are linear in their weights: what is solved for, what they evaluate to, and who may not read them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read
from numpy.typing import NDArray

from support.training_data import E0S, labelled
from tentpole import faster
from tentpole.committee import Committee, read_member
from tentpole.committee.graph import edges_within, graph_of
from tentpole.committee.linear_voter import LinearChange, LinearVoter
from tentpole.committee.mace_voter import MaceVoter, tensors
from tentpole.committee.member_files import (
    description_file,
    read_any_member,
    read_network,
    weights_file,
    write_member,
)
from tentpole.entropy import GradientFeatures
from tentpole.errors import InputError
from tentpole.storage.structures import write_frames
from tentpole.training import MACESettings, TrainingJob, linear, train_committee
from tentpole.training.network_voter import NetworkVoter, converted
from tentpole.training.stacked import Errors

SMALL = MACESettings(channels=4, max_L=0, max_ell=1, correlation=1, r_max=4.0, updates=60, E0s=E0S, together=1, lr=0.02)
LINEAR = replace(SMALL, solve="instead", ridge=1e-8)
SHIFT_eV = 3.0  # another method's zero of energy
ENERGIES = {1: E0S["H"], 8: E0S["O"]}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A member that has learned another method's labels."""
    folder = tmp_path_factory.mktemp("start")
    write_frames(folder / "cheap.xyz", labelled(24, seed=5, offset_eV=SHIFT_eV))
    train_committee([TrainingJob(0, 1, folder / "cheap.xyz", None, folder, folder / "start")], SMALL)
    return folder / "start"


def fitted(folder: Path, start: Path, count: int = 8, settings: MACESettings = LINEAR, **more: bool) -> TrainingJob:
    """A member that was solved for, from labels without the other method's shift."""
    folder.mkdir(exist_ok=True)
    write_frames(folder / "train.xyz", labelled(count, seed=7))
    job = TrainingJob(0, 3, folder / "train.xyz", folder / "train.xyz", folder, folder / "member", start, **more)
    train_committee([job], settings, energies=ENERGIES)
    return job


def derivatives(start: Path, frames: list[Atoms]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of energies and force components by all weights in mace's order of them, and their values, by mace's model."""
    model, _ = read_member(start, dtype="float64")
    weights = [weight.requires_grad_() for weight in model.parameters()]
    rows, values = [], []
    for atoms in frames:
        graph = graph_of(atoms, edges_within(atoms, float(model.r_max)))
        numbers = [int(z) for z in model.atomic_numbers]
        inputs = tensors(graph, numbers, [0], torch.float64, torch.device("cpu"))
        out = model(inputs, training=True, compute_force=True)
        for value in [out["interaction_energy"].sum(), *out["forces"].reshape(-1)]:
            parts = torch.autograd.grad(value, weights, retain_graph=True, allow_unused=True)
            flat = [torch.zeros(w.numel()) if p is None else p.reshape(-1) for w, p in zip(weights, parts, strict=True)]
            rows.append(torch.cat(flat).double().numpy())
            values.append(float(value.detach()))
    return np.array(rows), np.array(values)


def rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(values**2)))


def numbers_of(frames: list[Atoms]) -> NDArray[np.float64]:
    """Labels as `derivatives` has them: energies less those of isolated atoms, and force components."""
    isolated = [sum(ENERGIES[int(z)] for z in atoms.numbers) for atoms in frames]
    parts = [[a.info["REF_energy"] - e, *a.arrays["REF_forces"].ravel()] for a, e in zip(frames, isolated, strict=True)]
    return np.concatenate(parts)


@pytest.mark.parametrize("whole", [True, False])
def test_the_change_is_the_smallest_that_fits_and_the_member_evaluates_to_it(
    whole: bool, start: Path, tmp_path: Path
) -> None:
    job = fitted(tmp_path, start, whole=whole)
    frames = read(job.train, ":")
    rows, known = derivatives(start, frames)
    left = numbers_of(frames) - (known if whole else 0.0)
    energies = np.arange(len(left)) % (1 + 3 * len(frames[0])) == 0
    share = np.where(energies, rms(left[energies]), rms(left[~energies])) ** -0.5
    kernel = share[:, None] * (rows @ rows.T) * share
    ridge = LINEAR.ridge * kernel.diagonal().mean()
    expected = rows.T @ (share * np.linalg.solve(kernel + ridge * np.eye(len(kernel)), share * left))
    model, _, found = read_any_member(job.out)
    assert found is not None
    change = np.concatenate([found.change[name].numpy().ravel() for name, _ in model.named_parameters()])
    others = labelled(5, seed=11)
    rows, known = derivatives(start, others)
    predicted = rows @ expected + (known if whole else 0.0)
    np.testing.assert_allclose(rows @ change + (known if whole else 0.0), predicted, atol=1e-3)
    said = Committee.load([job.out]).evaluate(others)
    mine = np.concatenate(
        [
            [said.energies[0, k] - sum(ENERGIES[int(z)] for z in atoms.numbers), *said.forces[k][0].ravel()]
            for k, atoms in enumerate(others)
        ]
    )
    np.testing.assert_allclose(mine, rows @ change + (known if whole else 0.0), atol=2e-5)


def test_it_fits_what_the_start_errs_on_and_helps_where_it_was_not_trained(start: Path, tmp_path: Path) -> None:
    job = fitted(tmp_path, start, count=24)
    others = labelled(12, seed=13)
    labels = np.array([atoms.arrays["REF_forces"] for atoms in others])

    def error(stem: Path) -> float:
        return float(np.sqrt(np.mean((np.array(Committee.load([stem]).evaluate(others).forces)[:, 0] - labels) ** 2)))

    assert error(job.out) < 0.7 * error(start)
    told = read_any_member(job.out)[1]["training"]
    assert told["force_rmse"] == pytest.approx(told["train_force_rmse"])  # held out is what was trained on, here
    assert told["rows"] == {"of": 24 * (1 + 3 * len(others[0])), "solved": 24 * (1 + 3 * len(others[0]))}


def test_held_out_labels_are_solved_for_at_last_and_judge_the_solution_without_them(
    start: Path, tmp_path: Path
) -> None:
    frames, settings = labelled(8, seed=7), replace(LINEAR, folds=4)

    def solved(name: str, train: list[Atoms], valid: list[Atoms] | None) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        write_frames(folder / "train.xyz", train)
        write_frames(folder / "valid.xyz", valid or train)
        job = TrainingJob(
            1, 3, folder / "train.xyz", folder / "valid.xyz" if valid else None, folder, folder / "m", start
        )
        train_committee([job], settings, energies=ENERGIES)
        return job.out

    held = frames[1::4]
    folds = solved("folds", frames, None)
    rest = solved("rest", [atoms for k, atoms in enumerate(frames) if k % 4 != 1], held)
    every = solved("all", frames, frames)
    others = labelled(5, seed=11)
    forces = [np.array(Committee.load([one]).evaluate(others).forces) for one in (folds, every, rest)]
    np.testing.assert_allclose(forces[0], forces[1], atol=1e-4)
    assert np.abs(forces[0] - forces[2]).max() > 1e-2
    told, without = (read_any_member(one)[1]["training"] for one in (folds, rest))
    assert told["force_rmse"] == pytest.approx(without["force_rmse"], rel=0.05)
    assert told["force_rmse"] > 3 * told["train_force_rmse"]
    assert (told["frames"], told["rows"]["solved"]) == (
        {"trained": 6, "held_out": 2, "solved": 8},
        8 * (1 + 3 * len(frames[0])),
    )


@pytest.mark.parametrize("stressed", [False, True])
def test_every_fold_is_left_out_in_turn_to_choose_the_ridge_as_if_it_had_been_solved_without(
    stressed: bool, start: Path, tmp_path: Path
) -> None:
    frames, settings = labelled(9, seed=7), replace(LINEAR, folds=4)
    rng = np.random.default_rng(1)
    for atoms in frames if stressed else ():
        atoms.set_cell([8.0, 8.0, 8.0])
        atoms.pbc = True
        atoms.info["REF_stress"] = rng.normal(0.0, 1e-3, 6)
    write_frames(tmp_path / "train.xyz", frames)

    def fit(member: int, ridge: float | str) -> linear.LinearFit:
        job = TrainingJob(member, 3, tmp_path / "train.xyz", None, tmp_path, tmp_path / "m", start)
        return linear.LinearFit(job, replace(settings, ridge=ridge), ENERGIES)

    whole, seen = fit(1, "auto"), {}
    left_out = whole._left_out

    def kept(places: NDArray[np.int64], chosen: list[NDArray[np.int64]], wrong: torch.Tensor) -> Errors:
        errors = left_out(places, chosen, wrong)
        seen.update(frames=whole.solved[places], errors=errors)
        return errors

    whole._left_out = kept  # type: ignore[method-assign]
    whole.solve()
    assert sorted(seen["frames"]) == list(range(9)), "all of so few labels"
    for member in range(4):
        one = fit(member, 1e-3)
        _, held = one.solve()
        place = 1 + linear.RIDGES.index(1e-3)
        own = [list(seen["frames"]).index(k) for k in one.valid]
        errors: Errors = seen["errors"]
        for kind in ("energies", "forces", "stress", "stressed"):
            expected, found = getattr(held, kind)[0], getattr(errors, kind)[place, own]
            np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-12)
        assert held.energies.min() > 0


def test_only_weights_that_have_met_no_label_are_judged_by_all_folds(start: Path, tmp_path: Path) -> None:
    write_frames(tmp_path / "train.xyz", labelled(60, seed=7))
    job = TrainingJob(2, 3, tmp_path / "train.xyz", None, tmp_path, tmp_path / "m", start)
    for solve, ridge, frames in (("instead", "auto", 24), ("after", "auto", 6), ("instead", 1e-6, 6)):
        fit = linear.LinearFit(job, replace(LINEAR, solve=solve, ridge=ridge), ENERGIES)
        folds = fit._folds()
        assert sum(map(len, folds)) == frames
        assert len(set(np.concatenate(folds))) == frames
        assert list(fit.solved[folds[0]]) == list(fit.valid)


def test_forces_and_stress_are_derivatives_of_the_energy_and_a_labelled_stress_is_learned(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(10):
        atoms = bulk("Cu", cubic=True)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0.0, 0.02, (3, 3))), scale_atoms=True)
        atoms.rattle(0.05, rng=rng)
        atoms.calc = EMT()
        atoms.info |= {"REF_energy": atoms.get_potential_energy(), "REF_stress": atoms.get_stress()}
        atoms.arrays["REF_forces"] = atoms.get_forces()
        atoms.calc = None
        frames.append(atoms)
    write_frames(tmp_path / "train.xyz", frames)
    settings = replace(SMALL, E0s="average", updates=200, correlation=2)
    job = TrainingJob(0, 1, tmp_path / "train.xyz", tmp_path / "train.xyz", tmp_path, tmp_path / "start")
    train_committee([job], settings)
    last = replace(job, out=tmp_path / "member", warm_start=job.out)
    train_committee([last], replace(settings, solve="instead"))
    committee = Committee.load([last.out])
    known = committee.evaluate(frames, stress=True)
    before = Committee.load([job.out]).evaluate(frames, stress=True)
    assert known.stresses is not None
    assert before.stresses is not None
    labels = np.array([atoms.info["REF_stress"] for atoms in frames])
    assert np.abs(known.stresses[0] - labels).max() < 0.2 * np.abs(before.stresses[0] - labels).max()
    atoms, step = frames[0], 1e-4
    moved = []
    for sign in (1, -1):
        other = atoms.copy()
        other.positions[1, 2] += sign * step
        strained = atoms.copy()
        strained.set_cell(atoms.cell.array * (1 + sign * step * np.array([1, 0, 0])), scale_atoms=True)
        moved += [other, strained]
    energies = committee.evaluate(moved).energies[0]
    assert -(energies[0] - energies[2]) / (2 * step) == pytest.approx(known.forces[0][0, 1, 2], abs=1e-5)
    pull = (energies[1] - energies[3]) / (2 * step) / atoms.get_volume()
    assert pull == pytest.approx(known.stresses[0, 0, 0], abs=1e-6)


def test_our_network_gives_the_same_numbers_and_bits_of_its_own_to_every_structure(start: Path, tmp_path: Path) -> None:
    job = fitted(tmp_path, start)
    committee = Committee.load([job.out], dtype="float32")  # differences are taken in float64 all the same
    quick = faster(committee)
    assert isinstance(quick.voters[0], NetworkVoter)
    frames = labelled(6, seed=17)
    mine, theirs = quick.evaluate(frames), committee.evaluate(frames)
    np.testing.assert_allclose(mine.energies, theirs.energies, atol=1e-6)
    for a, b in zip(mine.forces, theirs.forces, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    alone = quick.evaluate(frames[2:3])
    assert alone.energies[0, 0] == mine.energies[0, 2]
    np.testing.assert_array_equal(alone.forces[0], mine.forces[2])


def test_it_begins_from_the_same_start_every_time_and_ends_with_the_same_bits(start: Path, tmp_path: Path) -> None:
    first, second = fitted(tmp_path / "a", start), fitted(tmp_path / "b", start)
    assert weights_file(first.out).read_bytes() == weights_file(second.out).read_bytes()
    model, _, _found = read_any_member(first.out)
    kept = dict(read_member(start, dtype="float64")[0].named_parameters())
    assert all(torch.equal(weight, kept[name]) for name, weight in model.named_parameters())
    committee, other = Committee.load([first.out]), Committee.load([start], dtype="float64")
    np.testing.assert_allclose(  # the gradients that choose frames are those of the start
        GradientFeatures(committee, size=64).rows(labelled(3, seed=19)),
        GradientFeatures(other, size=64).rows(labelled(3, seed=19)),
        atol=1e-9,
    )


def test_of_a_member_that_was_solved_for_another_goes_on(start: Path, tmp_path: Path) -> None:
    first = fitted(tmp_path / "a", start)
    more = replace(first, out=tmp_path / "again", warm_start=first.out)
    train_committee([more], LINEAR, energies=ENERGIES)
    frames = read(first.train, ":")
    labels = np.array([atoms.arrays["REF_forces"] for atoms in frames])
    begun, before, after = (
        np.sqrt(np.mean((np.array(Committee.load([stem]).evaluate(frames).forces)[:, 0] - labels) ** 2))
        for stem in (start, first.out, more.out)
    )
    assert after <= before < 0.05 * begun


def test_after_updates_it_leaves_less_error_than_they_do(tmp_path: Path) -> None:
    write_frames(tmp_path / "train.xyz", labelled(24, seed=7))
    write_frames(tmp_path / "valid.xyz", labelled(12, seed=13))
    settings, made = replace(SMALL, together=2), []
    for solve in ("no", "after"):
        jobs = [
            TrainingJob(
                m, m, tmp_path / "train.xyz", tmp_path / "valid.xyz", tmp_path / solve, tmp_path / solve / f"m-{m}"
            )
            for m in range(2)
        ]
        made.append(train_committee(jobs, replace(settings, solve=solve)))
    for one, other in zip(*made, strict=True):
        assert other.force_rmse < 0.7 * one.force_rmse
        assert (one.updates, other.updates, other.stopped) == (60, 60 + 24, "solved")
        assert other.curve[: len(one.curve)] == one.curve
        assert not other.under_trained
    assert not (tmp_path / "after" / linear.UPDATED).exists()
    told = read_any_member(tmp_path / "after" / "m-0")
    updated = read_member(tmp_path / "no" / "m-0", dtype="float64")[0]
    assert told[2] is not None
    assert all(torch.equal(a, b) for a, b in zip(told[0].parameters(), updated.parameters(), strict=True))
    again = TrainingJob(
        0, 5, tmp_path / "train.xyz", None, tmp_path / "b", tmp_path / "b" / "m-0", tmp_path / "after/m-0"
    )
    (report,) = train_committee([again], replace(settings, solve="after", updates_warm=20))
    assert report.warm_start
    assert report.force_rmse < 0.1


def test_a_training_that_was_stopped_between_updates_and_solution_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_frames(tmp_path / "train.xyz", labelled(12, seed=7))
    jobs = [TrainingJob(m, m, tmp_path / "train.xyz", None, tmp_path, tmp_path / f"m-{m}") for m in range(2)]
    settings = replace(SMALL, together=2, solve="after", updates=10)
    linear.train_and_solve(jobs, settings, ENERGIES)
    whole = [weights_file(job.out).read_bytes() for job in jobs]
    for job in jobs:
        weights_file(job.out).unlink()
        description_file(job.out).unlink()
    solve = linear._solve

    def killed(job: TrainingJob, *arguments: object) -> None:
        if job.member == 1:
            raise KeyboardInterrupt
        solve(job, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(linear, "_solve", killed)
    with pytest.raises(KeyboardInterrupt):
        linear.train_and_solve(jobs, settings, ENERGIES)
    monkeypatch.setattr(linear, "_solve", solve)
    linear.train_and_solve(jobs, settings, ENERGIES)
    assert [weights_file(job.out).read_bytes() for job in jobs] == whole


def test_with_more_numbers_than_there_is_room_for_energies_stay(
    start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_frames(tmp_path / "train.xyz", labelled(8, seed=7))
    job = TrainingJob(0, 3, tmp_path / "train.xyz", None, tmp_path, tmp_path / "member", start)
    monkeypatch.setattr(linear, "ROWS", 40)
    fit = linear.LinearFit(job, LINEAR, ENERGIES)
    chosen = fit._chosen()
    assert sum(map(len, chosen)) == fit.rows_solved == 40
    assert all(numbers[0] == 0 for numbers in chosen)
    assert [list(one) for one in chosen] == [list(one) for one in linear.LinearFit(job, LINEAR, ENERGIES)._chosen()]
    other = linear.LinearFit(replace(job, seed=4), LINEAR, ENERGIES)._chosen()
    assert [list(one) for one in chosen] != [list(one) for one in other]
    monkeypatch.setattr(linear, "ROWS", 7)
    with pytest.raises(InputError, match="too many to be solved for"):
        linear.LinearFit(job, LINEAR, ENERGIES)._chosen()


def test_it_reads_as_one_model_of_maces_and_is_not_converted_for_a_gpu(start: Path, tmp_path: Path) -> None:
    job = fitted(tmp_path, start)
    frames = labelled(3, seed=31)
    known = Committee.load([job.out]).evaluate(frames)
    said = Committee([MaceVoter(read_member(job.out)[0], [0], "cpu")]).evaluate(frames)
    np.testing.assert_allclose(said.energies, known.energies, atol=1e-8)
    np.testing.assert_allclose(np.concatenate(said.forces, 1), np.concatenate(known.forces, 1), atol=1e-7)
    network, _ = read_network(job.out)
    assert next(network.parameters()).dtype == torch.float32
    assert all(
        np.array_equal(a.numpy(), b.numpy())
        for a, b in zip(network.parameters(), read_member(start)[0].parameters(), strict=True)
    )
    with pytest.raises(InputError, match='evaluation = "own"'):
        converted(Committee.load([job.out]))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ({"step": 0.0}, "step = 0.0 must be positive"),
        ({"step": float("inf")}, "step = inf must be positive"),
        ({"change": {}}, "not one of all weights"),
    ],
)
def test_a_change_that_is_none_is_refused(damage: dict[str, object], words: str, start: Path, tmp_path: Path) -> None:
    model, _ = read_member(start, dtype="float64")
    change = {name: torch.zeros_like(weight) for name, weight in model.named_parameters()}
    given = LinearChange(**({"change": change, "whole": True, "step": 1.0} | damage))  # type: ignore[arg-type]
    write_member(tmp_path / "member", model, linear=given)
    with pytest.raises(Exception, match=words) as refusal:
        read_any_member(tmp_path / "member")
    assert str(description_file(tmp_path / "member")) in str(refusal.value)


def test_a_change_of_nothing_is_the_start(start: Path) -> None:
    model, _ = read_member(start, dtype="float64")
    model, change = linear.unchanged(model)
    frames = labelled(3, seed=29)
    known = Committee.load([start], dtype="float64").evaluate(frames)
    said = Committee([LinearVoter(model, change, "cpu")]).evaluate(frames)
    np.testing.assert_allclose(said.energies, known.energies, atol=1e-9)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"loop": "mace"}, 'solve = "instead" needs loop = "stacked", not "mace"'),
        ({"ridge": 0.0}, "ridge = 0.0 must be positive"),
        ({"ridge": "small"}, 'unknown ridge "small"'),
        ({"frozen": True}, "leave one out"),
        ({"solve": "yes"}, 'unknown solve "yes"'),
    ],
)
def test_settings_that_do_not_go_together(keys: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        MACESettings(**{"solve": "instead", **keys})  # type: ignore[arg-type]


def test_labels_that_ripple_get_a_larger_ridge_and_no_change_where_none_helps(start: Path, tmp_path: Path) -> None:
    """Forces that no energy gives: the smallest ridge fits them, and errs on all else."""
    rng, frames = np.random.default_rng(0), labelled(24, seed=7)
    for atoms in frames:
        atoms.arrays["REF_forces"] += rng.normal(0.0, 1.0, (3, 3))
    write_frames(tmp_path / "train.xyz", frames)
    write_frames(tmp_path / "valid.xyz", labelled(12, seed=13))

    def solved(name: str, ridge: float | str, labels: str = "train.xyz") -> tuple[float, float | None]:
        job = TrainingJob(0, 3, tmp_path / labels, tmp_path / "valid.xyz", tmp_path, tmp_path / name, start)
        (report,) = train_committee([job], replace(LINEAR, ridge=ridge), energies=ENERGIES)
        return report.force_rmse, read_any_member(job.out)[1]["training"]["ridge"]

    tight, wide = solved("tight", 1e-8), solved("auto", "auto")
    assert wide[0] < 0.5 * tight[0]
    assert wide[1] is None or wide[1] > 1e-8
    write_frames(tmp_path / "smooth.xyz", labelled(24, seed=7))
    smooth = solved("smooth", "auto", "smooth.xyz")
    assert smooth[1] is not None
    assert smooth[1] < 1e-4
    for atoms in frames:
        atoms.arrays["REF_forces"] = rng.normal(0.0, 30.0, (3, 3))
    write_frames(tmp_path / "noise.xyz", frames)
    none = solved("none", "auto", "noise.xyz")
    assert none[1] is None
    assert read_any_member(tmp_path / "none")[1]["training"]["frames"]["solved"] == 0
    forces, begun = (Committee.load([stem]).evaluate(labelled(3)).forces for stem in (tmp_path / "none", start))
    np.testing.assert_allclose(forces[0], begun[0], atol=1e-5)


def test_of_ridges_that_err_alike_the_smallest_counts(start: Path, tmp_path: Path) -> None:
    write_frames(tmp_path / "train.xyz", labelled(4, seed=7))
    job = TrainingJob(0, 3, tmp_path / "train.xyz", None, tmp_path, tmp_path / "m", start)

    def best(solve: str, *losses: float) -> int:
        fit = linear.LinearFit(job, replace(LINEAR, solve=solve, ridge="auto", forces_weight=1.0), ENERGIES)
        column, none = np.repeat(np.array(losses)[:, None], 25, axis=1), np.zeros((len(losses), 25))
        errors = Errors(none, column, none, np.full_like(none, 8.0), none)
        return fit._best((np.inf, 1e-3, 1e-2, 1e-1)[: len(losses)], errors)

    assert best("instead", 4.0, 1.4, 1.1, 1.0) == 1
    assert best("after", 4.0, 1.4, 1.1, 1.0) == 2
    assert best("instead", 4.0, 1.6, 1.4, 1.0) == 2
    assert best("instead", 1.2, 1.4, 1.3, 1.0) == 3, "and less than without a change"
    assert best("instead", 4.0, np.nan, np.nan, 1.0) == 3


def test_a_change_that_costs_forces_next_to_nothing_may_serve_energies_and_stress() -> None:
    energies, forces, stress = [4.0, 1.0, 0.01, 3.9], [1.0, 1.02, 1.5, 1.05], [2.0, 1.0, 0.1, 2.2]
    changes = [np.repeat(np.array(kind)[:, None], 3, axis=1) for kind in (energies, forces, stress)]
    sizes = np.full((4, 3), 8.0)
    settings = replace(LINEAR, energy_weight=1e-3, forces_weight=1.0, stress_weight=1e-3)

    def served(stressed: float, **more: NDArray[np.float64]) -> int:
        errors = Errors(*changes, sizes, np.full((4, 3), stressed))
        errors = replace(errors, **more)
        return linear._serves_all(errors, [errors.loss(k, slice(None), settings) for k in range(4)])

    assert served(1.0) == 1  # the third errs far less on both, and costs forces a quarter
    assert served(0.0) == 1
    assert served(1.0, energies=np.repeat([[4.0], [9.0], [0.01], [9.0]], 3, axis=1)) == 0
    assert served(0.0, energies=np.zeros((4, 3))) == 0
    assert served(1.0, forces=np.repeat([[1.0], [np.nan], [1.5], [np.nan]], 3, axis=1)) == 0


def test_random_weights_are_no_start(tmp_path: Path) -> None:
    write_frames(tmp_path / "train.xyz", labelled(4, seed=1))
    job = TrainingJob(0, 1, tmp_path / "train.xyz", None, tmp_path, tmp_path / "member")
    with pytest.raises(InputError, match="there are none to go on from"):
        train_committee([job], LINEAR)


def test_no_kind_of_label_drowns_the_others() -> None:
    """In place: energies, force components and virials, so far apart in size, come nearer to each other by the root."""
    rows, left = torch.ones(6, 3), torch.tensor([0.25, -0.25, 1.0, -1.0, 16.0, -16.0], dtype=torch.float64)
    linear.balance(rows, left, np.array([0, 0, 1, 1, 2, 2]))
    assert left.tolist() == [0.5, -0.5, 1.0, -1.0, 4.0, -4.0]
    assert rows[:, 0].tolist() == [2.0, 2.0, 1.0, 1.0, 0.25, 0.25]
    linear.balance(rows[:1], left[:1] * 0, np.array([0]))
    assert float(rows[0, 0]) == 2.0, "a kind of which nothing is left stays as it is"
