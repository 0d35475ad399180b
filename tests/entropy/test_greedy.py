"""Greedy choice equals brute force on small sets, for each method, with and without quotas."""

import itertools
from collections import Counter

import numpy as np
import pytest

from tentpole.entropy import Covariance, even_quota, greedy
from tentpole.errors import InputError


def candidates(rng, n, d=4, rows=None):
    return [
        rng.normal(size=(rows or int(rng.integers(1, 6)), d)) * rng.uniform(0.2, 2) + rng.normal(size=d)
        for _ in range(n)
    ]


def started(mode, rng, n=6):
    covariance = Covariance(mode, eps=1e-2)
    for block in candidates(rng, n):
        covariance.add(block)
    return covariance


def normalised(covariance, picked):
    grown = covariance.copy()
    for block in picked:
        grown.add(block)
    return grown.logdet()


def information_form(covariance, batch, k, picked):
    """F(S) by its definition, λ and μ₀ as documented."""
    rows = [covariance.rows(b) for b in batch]
    everything = np.concatenate(rows)
    ridge = covariance.eps * (covariance.n + k * len(everything) / len(batch))
    mean = covariance.mean if covariance.n else everything.mean(axis=0)
    matrix = ridge * np.eye(everything.shape[1])
    if covariance.n:
        matrix = matrix + covariance.scatter
    for i in picked:
        matrix = matrix + (rows[i] - mean).T @ (rows[i] - mean)
    return np.linalg.slogdet(matrix)[1]


def brute(value, n, k, allowed=lambda picked, i: True):
    """Greedy by the definition: at each step the candidate that gives the highest value of the set."""
    picked, gains = [], []
    while len(picked) < k:
        free = [i for i in range(n) if i not in picked and allowed(picked, i)]
        if not free:
            break
        values = [value([*picked, i]) for i in free]
        gains.append(max(values) - value(picked))
        picked.append(free[int(np.argmax(values))])
    return picked, gains


def check(chosen, expected):
    assert [i for i, _ in chosen] == expected[0]
    assert np.allclose([g for _, g in chosen], expected[1], atol=1e-8)


@pytest.mark.parametrize("mode", ["per-atom", "per-config"])
@pytest.mark.parametrize("seed", range(3))
def test_exact_is_brute_force_on_the_normalised_log_det(mode, seed):
    rng = np.random.default_rng(seed)
    covariance, batch = started(mode, rng), candidates(rng, 10)
    expected = brute(lambda s: normalised(covariance, [batch[i] for i in s]), 10, 6)
    check(greedy(covariance, batch, 6, method="exact"), expected)


@pytest.mark.parametrize("mode", ["per-atom", "per-config"])
@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_lazy_is_brute_force_on_the_information_form(mode, empty, seed):
    rng = np.random.default_rng(seed)
    covariance = Covariance(mode, eps=1e-2) if empty else started(mode, rng)
    batch = candidates(rng, 60)
    expected = brute(lambda s: information_form(covariance, batch, 12, s), 60, 12)
    check(greedy(covariance, batch, 12, method="information"), expected)


@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_cholesky_is_brute_force_and_equals_lazy(empty, seed):
    rng = np.random.default_rng(seed)
    covariance = Covariance("per-config", eps=1e-2) if empty else started("per-config", rng)
    batch = candidates(rng, 30)
    expected = brute(lambda s: information_form(covariance, batch, 12, s), 30, 12)
    check(greedy(covariance, batch, 12, method="cholesky"), expected)
    check(greedy(covariance, batch, 12, method="information"), expected)


@pytest.mark.parametrize("method", ["exact", "information", "cholesky"])
def test_quotas_are_kept_and_equal_brute_force(method):
    rng = np.random.default_rng(7)
    covariance, batch = started("per-config", rng), candidates(rng, 12)
    groups = ["hot", "cold", "warm"] * 4
    value = (
        (lambda s: normalised(covariance, [batch[i] for i in s]))
        if method == "exact"
        else (lambda s: information_form(covariance, batch, 8, s))
    )

    def allowed(picked, i):
        return sum(groups[j] == groups[i] for j in picked) < 2

    chosen = greedy(covariance, batch, 8, method=method, groups=groups, quotas=2)
    check(chosen, brute(value, 12, 8, allowed))
    assert Counter(groups[i] for i, _ in chosen) == {"hot": 2, "cold": 2, "warm": 2}
    named = greedy(covariance, batch, 8, method=method, groups=groups, quotas={"hot": 0, "cold": 1})
    assert Counter(groups[i] for i, _ in named) == {"cold": 1, "warm": 4}


def test_the_information_form_is_within_its_guarantee_of_the_best_set():
    rng = np.random.default_rng(8)
    covariance, batch = started("per-atom", rng), candidates(rng, 9)
    nothing = information_form(covariance, batch, 3, [])
    best = max(information_form(covariance, batch, 3, s) - nothing for s in itertools.combinations(range(9), 3))
    reached = sum(g for _, g in greedy(covariance, batch, 3, method="information"))
    assert best + 1e-9 >= reached >= (1 - 1 / np.e) * best


@pytest.mark.parametrize("method", ["exact", "information", "cholesky"])
def test_a_floor_ends_the_choice(method):
    rng = np.random.default_rng(9)
    covariance, batch = started("per-config", rng), candidates(rng, 20)
    every = greedy(covariance, batch, 20, method=method)
    floor = every[5][1]
    few = greedy(covariance, batch, 20, method=method, floor=floor)
    cut = next(n for n, (_, gain) in enumerate([*every, (0, -np.inf)]) if gain < floor)
    assert 0 < len(few) < 20
    if method == "exact":
        assert few == every[:cut]
    assert all(gain >= floor for _, gain in few)


def test_the_covariance_is_left_as_it_was():
    rng = np.random.default_rng(10)
    covariance, batch = started("per-atom", rng), candidates(rng, 8)
    before = covariance.arrays()
    for method in ("exact", "information"):
        greedy(covariance, batch, 4, method=method)
    for name, value in covariance.arrays().items():
        assert np.array_equal(value, before[name]), name


def test_even_quotas_share_what_some_groups_cannot_fill():
    assert even_quota(["a"] * 10 + ["b"] * 10, 6) == 3
    assert even_quota(["a"] * 10 + ["b"] * 10, 7) == 4
    assert even_quota(["a"] * 10 + ["b"], 6) == 5
    assert even_quota(["a"] * 2, 10) == 10


def test_asking_for_more_than_there_is_or_nothing():
    rng = np.random.default_rng(11)
    covariance, batch = started("per-atom", rng), candidates(rng, 3)
    assert sorted(i for i, _ in greedy(covariance, batch, 9)) == [0, 1, 2]
    assert greedy(covariance, batch, 0) == []
    assert greedy(covariance, [], 3) == []
    assert greedy(Covariance(), [], 3, method="information") == []


def test_bad_input_is_named():
    rng = np.random.default_rng(12)
    covariance, batch = started("per-atom", rng), candidates(rng, 3, rows=2)
    with pytest.raises(InputError, match='did you mean "cholesky"'):
        greedy(covariance, batch, 2, method="choleski")
    with pytest.raises(InputError, match="one row per candidate"):
        greedy(covariance, batch, 2, method="cholesky")
    with pytest.raises(InputError, match="groups"):
        greedy(covariance, batch, 2, quotas=1)
