"""Descriptors: named, leak-free by default, complete; models: deterministic and better than the mean."""

import numpy as np
import pytest
from ase.build import bulk

from tentpole.benchmarks.pool import build, describe, model
from tentpole.benchmarks.pool.features import COMPOSITION, PROPERTIES, composition_statistics, suspicious
from tentpole.benchmarks.pool.models import MODELS, Scale
from tentpole.errors import InputError


def pool(n=40, seed=0):
    rng = np.random.default_rng(seed)
    return build(
        {
            "formula": [f"Fe{1 + i % 4}O{1 + i % 7}" for i in range(n)],
            "formation_energy_per_atom": rng.normal(size=n),
            "energy_per_atom": rng.normal(size=n) - 5,
            "energy_above_hull": rng.uniform(size=n),
            "band_gap": rng.uniform(-1, 2, n).clip(0),
            "density": rng.uniform(3, 8, n),
            "half_missing": np.where(np.arange(n) % 2, rng.normal(size=n), np.nan),
            "word": ["x"] * n,
        }
    )


def test_the_study_has_eight_and_nine_descriptors():
    assert (len(COMPOSITION), len(PROPERTIES)) == (8, 9)


def test_composition_statistics_of_iron_oxide():
    found = dict(zip(COMPOSITION, composition_statistics("Fe2O3"), strict=True))
    assert found["mean_atomic_number"] == pytest.approx(0.4 * 26 + 0.6 * 8)
    assert found["range_atomic_number"] == 18
    assert found["mean_atomic_mass"] == pytest.approx(0.4 * 55.845 + 0.6 * 15.999)
    assert found["std_electronegativity"] == pytest.approx(np.sqrt(0.4 * 0.6) * (3.44 - 1.83))
    assert np.isnan(composition_statistics("ArO")[5])


def test_the_default_set_holds_nothing_that_contains_the_target():
    free = describe(pool(), "formation_energy_per_atom")
    paper = describe(pool(), "formation_energy_per_atom", "paper")
    assert set(paper.names) - set(free.names) == {"energy_per_atom", "energy_above_hull"}
    assert "formation_energy_per_atom" not in paper.names
    gap = describe(pool(), "band_gap")
    assert not {"band_gap", "is_metal"} & set(gap.names)
    assert "energy_per_atom" in gap.names


def test_columns_of_any_table_need_no_formula():
    table = build({"a": [1.0, 2, 3], "b": [0.0, 1, 5], "target": [3.0, 4, 5]})
    assert describe(table, "target", "columns").names == ("a", "b")
    with pytest.raises(InputError, match='use "columns"'):
        describe(table, "target")


def test_missing_and_constant_descriptors_are_left_out_and_told():
    found = describe(pool(), "formation_energy_per_atom", "columns")
    assert "half_missing" not in found.names
    assert any("half_missing (missing in 50 % of rows)" in note for note in found.notes)
    some = pool()
    some.columns["density"][3] = np.nan
    found = describe(some, "formation_energy_per_atom")
    assert 3 not in found.rows
    assert len(found.rows) == 39
    assert "1 of 40 rows lack a descriptor and are left out" in found.notes
    assert any("n_elements (constant)" in note for note in found.notes)


def test_unknown_sets_and_empty_ones():
    with pytest.raises(InputError, match='unknown feature set "leakfree"; did you mean "leak-free"'):
        describe(pool(), "band_gap", "leakfree")
    with pytest.raises(InputError, match="no descriptor is left"):
        describe(build({"target": [1.0, 2.0], "x": [1.0, 1.0]}), "target", "columns")


def test_gom_statistics_describe_structures_whatever_their_repeat():
    frames = [bulk("Si"), bulk("Si", cubic=True), bulk("Ge"), bulk("NaCl", "rocksalt", a=5.64)]
    table = build({"target": [0.0, 0.0, 1.0, 2.0]}, frames)
    found = describe(table, "target", "gom")
    assert len(found.names) >= 10
    np.testing.assert_allclose(found.values[0], found.values[1], atol=1e-9)
    assert np.abs(found.values[0] - found.values[2]).max() > 1e-3
    with pytest.raises(InputError, match="need structures"):
        describe(pool(), "band_gap", "leak-free+gom")


def test_a_descriptor_that_contains_the_target_is_suspicious():
    rng = np.random.default_rng(0)
    y = rng.normal(size=50)
    x = np.stack([rng.normal(size=50), -3 * y + 0.01 * rng.normal(size=50)], axis=1)
    assert suspicious(x, ["harmless", "copy"], y) == ["copy (r = -1.000)"]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_models_are_deterministic_and_beat_the_mean(name):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(160, 5))
    y = np.sin(x[:, 0]) + 0.5 * x[:, 1]
    train, test = slice(0, 80), slice(80, 160)
    fits = [model(name).fit(x[train], Scale.of(y[train]).forward(y[train]), 3) for _ in range(2)]
    (mean, std), again = (fit.predict(x[test]) for fit in fits)
    np.testing.assert_array_equal(mean, again[0])
    np.testing.assert_array_equal(std, again[1])
    assert mean.shape == std.shape == (80,)
    assert (std > 0).all()
    truth = Scale.of(y[train]).forward(y[test])
    assert np.abs(mean - truth).mean() < 0.6 * np.abs(truth).mean()


@pytest.mark.slow
def test_training_by_hand_is_autograd_and_torchs_adam():
    torch = pytest.importorskip("torch")
    from tentpole.benchmarks.pool.models import Networks

    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(size=(20, 4)), rng.normal(size=20)
    weights = [torch.from_numpy(w).requires_grad_() for w in Networks(epochs=0).fit(inputs, targets, 1).weights]
    x, y = torch.from_numpy(inputs).float().expand(5, -1, -1), torch.from_numpy(targets).float()

    def outputs(h):
        for place, w in enumerate(weights):
            h = (torch.relu(h) if place else h) @ w[:, :-1] + w[:, -1:]
        return h[..., 0]

    optimizer = torch.optim.Adam(weights, lr=1e-3)
    for _ in range(10):
        optimizer.zero_grad()
        ((outputs(x) - y) ** 2).mean(dim=1).sum().backward()
        optimizer.step()
    fitted = Networks(epochs=10).fit(inputs, targets, 1)
    for ours, theirs in zip(fitted.weights, weights, strict=True):
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-3, atol=1e-5)
    mean, std = fitted.predict(inputs)
    each = outputs(x).detach().double().numpy()
    np.testing.assert_allclose(mean, each.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(std, each.std(axis=0), atol=1e-5)


def test_networks_differ_by_seed_and_predict_rows_one_by_one():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(30, 4)), rng.normal(size=30)
    one, other = (model("networks").fit(x, y, seed) for seed in (0, 1))
    many = rng.normal(size=(5000, 4))
    assert np.abs(one.predict(many)[0] - other.predict(many)[0]).max() > 1e-3
    np.testing.assert_allclose(one.predict(many)[0][[7, 4321]], one.predict(many[[7, 4321]])[0], atol=1e-5)


def test_unknown_model():
    with pytest.raises(InputError, match="unknown model"):
        model("network")
