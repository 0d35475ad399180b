"""Test classes that a fingerprint or a selection rule of your own inherits. Reached as tentpole.testing.NAME.

They are pytest classes: import them in a test module, give the fixtures, and pytest runs every law.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from ase import Atoms

from tentpole.entropy import Covariance, Fingerprint
from tentpole.selection import Candidates, Labelled, SelectionRule


class FingerprintConformance:
    """What every fingerprint owes (tentpole.entropy.Fingerprint). Inherit, and give the two fixtures.

    class TestMine(FingerprintConformance):
        @pytest.fixture
        def fingerprint(self): return Mine()          # in double precision: derivatives are checked
        @pytest.fixture
        def structures(self): return [atoms, ...]     # at least one periodic; no two atoms too alike
    """

    @pytest.fixture
    def fingerprint(self) -> Fingerprint:
        raise NotImplementedError("give a fixture `fingerprint` that returns a Fingerprint")

    @pytest.fixture
    def structures(self) -> Sequence[Atoms]:
        raise NotImplementedError("give a fixture `structures` that returns Atoms to try it on")

    def test_it_is_a_fingerprint(self, fingerprint: Fingerprint, structures: Sequence[Atoms]) -> None:
        assert isinstance(fingerprint, Fingerprint)
        for atoms in structures:
            rows = fingerprint.fingerprints(atoms)
            assert rows.shape == (len(atoms), fingerprint.size)
            assert rows.dtype == np.float64
            assert np.isfinite(rows).all()

    def test_rows_do_not_see_order_place_or_direction(
        self, fingerprint: Fingerprint, structures: Sequence[Atoms]
    ) -> None:
        rng = np.random.default_rng(0)
        for atoms in structures:
            rows = fingerprint.fingerprints(atoms)
            order = rng.permutation(len(atoms))
            assert np.allclose(fingerprint.fingerprints(atoms[order]), rows[order], atol=1e-9)
            moved = atoms.copy()
            moved.positions += rng.normal(size=3) * 5
            moved.positions += (rng.integers(-2, 3, (len(atoms), 3)) * atoms.pbc) @ atoms.cell.array
            assert np.allclose(fingerprint.fingerprints(moved), rows, atol=1e-9)
            turned = atoms.copy()
            turned.rotate(77.0, (1.0, -2.0, 0.5), rotate_cell=True)
            assert np.allclose(fingerprint.fingerprints(turned), rows, atol=1e-9)

    def test_a_repeated_cell_has_the_same_rows(self, fingerprint: Fingerprint, structures: Sequence[Atoms]) -> None:
        for atoms in structures:
            if atoms.pbc[0]:
                twice = fingerprint.fingerprints(atoms.repeat((2, 1, 1)))
                assert np.allclose(twice, np.tile(fingerprint.fingerprints(atoms), (2, 1)), atol=1e-9)

    def test_the_pullback_is_the_derivative(self, fingerprint: Fingerprint, structures: Sequence[Atoms]) -> None:
        """Central differences, to 1e-6 relative, of Φ = Σ a |q|²/2, smooth where eigenvalues meet."""
        rng = np.random.default_rng(1)
        for atoms in structures:
            a = rng.normal(size=(len(atoms), 1))
            rows, pulled = fingerprint.value_and_pullback(atoms)
            assert np.array_equal(rows, fingerprint.fingerprints(atoms))
            gradient, strain = pulled(a * rows)
            again = fingerprint.pullback(atoms, a * rows)
            assert np.array_equal(again[0], gradient)
            assert np.array_equal(again[1], strain)

            def phi(moved: Atoms, a: Any = a) -> float:
                return float(0.5 * (a * fingerprint.fingerprints(moved) ** 2).sum())

            step = 1e-4
            for index in [(0, 0), (len(atoms) - 1, 1), (len(atoms) // 2, 2)]:
                change = 0.0
                for sign in (1.0, -1.0):
                    moved = atoms.copy()
                    moved.positions[index] += sign * step
                    change += sign * phi(moved) / (2 * step)
                assert abs(change - gradient[index]) < 1e-6 * np.abs(gradient).max()
            for i, j in [(0, 0), (1, 2), (2, 0)]:
                change = 0.0
                for sign in (1.0, -1.0):
                    deformation = np.eye(3)
                    deformation[i, j] += 0.5 * sign * step
                    deformation[j, i] += 0.5 * sign * step
                    moved = atoms.copy()
                    moved.set_cell(moved.cell.array @ deformation)
                    moved.positions = atoms.positions @ deformation
                    change += sign * phi(moved) / (2 * step)
                assert abs(change - strain[i, j]) < 1e-6 * np.abs(strain).max()

    def test_no_net_force_and_no_torque_in_the_stress(
        self, fingerprint: Fingerprint, structures: Sequence[Atoms]
    ) -> None:
        for atoms in structures:
            rows, pulled = fingerprint.value_and_pullback(atoms)
            gradient, strain = pulled(np.random.default_rng(2).normal(size=rows.shape))
            assert np.abs(gradient.sum(axis=0)).max() < 1e-9 * max(np.abs(gradient).max(), 1.0)
            assert np.allclose(strain, strain.T, rtol=0, atol=1e-12 * max(np.abs(strain).max(), 1.0))


class SelectionRuleConformance:
    """What every selection rule owes (tentpole.selection.SelectionRule). Inherit, and give the fixture.

    class TestMine(SelectionRuleConformance):
        @pytest.fixture
        def rule(self): return Mine()
    """

    @pytest.fixture
    def rule(self) -> SelectionRule:
        raise NotImplementedError("give a fixture `rule` that returns a SelectionRule")

    @staticmethod
    def candidates(n: int = 30, d: int = 5) -> Candidates:
        """N candidates of three conditions; the later conditions are the wider."""
        rng = np.random.default_rng(0)
        wide = 1.0 + np.arange(n) % 3
        return Candidates(
            ids=[f"r000-w{i:02d}-000000" for i in range(n)],
            sigma=rng.uniform(0.01, 0.5, n),
            features=rng.normal(size=(n, d)) * wide[:, None],
            conditions=[f"{300 * int(w)} K" for w in wide],
        )

    @pytest.mark.parametrize("known", [0, 6])
    def test_picks_are_candidates_at_most_k_and_none_twice(self, rule: SelectionRule, known: int) -> None:
        candidates = self.candidates()
        labelled = Labelled(np.random.default_rng(1).normal(size=(known, 5)))
        assert isinstance(rule, SelectionRule)
        for k in (0, 1, 7, 30, 100):
            picks = rule.select(candidates, labelled, k, np.random.default_rng(2))
            indices = [pick.index for pick in picks]
            assert len(indices) == len(set(indices)) <= min(k, len(candidates))
            for pick in picks:
                assert candidates.ids[pick.index] == pick.id
                assert all(np.isfinite(value) for value in pick.scores.values())
                assert len(pick.reason.split()) >= 3, "a reason is given in words"

    def test_it_is_pure(self, rule: SelectionRule) -> None:
        """Same arguments and generator state, same picks; and the arguments are left alone."""
        candidates = self.candidates()
        covariance = Covariance("per-config")
        for row in np.random.default_rng(3).normal(size=(4, 5)):
            covariance.add(row)
        labelled = Labelled(np.random.default_rng(1).normal(size=(4, 5)), covariance=covariance)
        before = (candidates.features.copy(), candidates.sigma.copy(), covariance.arrays())
        first = rule.select(candidates, labelled, 6, np.random.default_rng(4))
        assert rule.select(candidates, labelled, 6, np.random.default_rng(4)) == first
        assert np.array_equal(candidates.features, before[0])
        assert np.array_equal(candidates.sigma, before[1])
        for name, value in covariance.arrays().items():
            assert np.array_equal(value, before[2][name])

    def test_nothing_to_choose_from(self, rule: SelectionRule) -> None:
        nothing = Candidates([], np.zeros(0), np.zeros((0, 5)), [])
        assert rule.select(nothing, Labelled(np.zeros((2, 5))), 3, np.random.default_rng(0)) == []
