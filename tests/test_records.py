"""Records: what a frame's σ is of its atoms', and which charge and multiplicity are a frame's."""

import numpy as np
import pytest
from ase import Atoms

from tentpole.errors import InputError
from tentpole.records import Scores, bare, own_state, readable_state, state_of, structure_hash, with_state


def test_the_sigma_of_a_frame_is_the_mean_of_few_atoms_and_the_percentile_of_many():
    scores = Scores(0.1, 0.001, 0.012, 1.0, 0.02, p95_force_std=0.3)
    assert [scores.sigma("auto", n) for n in (7, 50, 51, 500)] == [0.012, 0.012, 0.3, 0.3]
    assert (scores.sigma("mean", 500), scores.sigma("max", 7), scores.sigma("p95", 7)) == (0.012, 1.0, 0.3)
    with pytest.raises(ValueError, match="Legal: auto, mean, max, p95"):
        scores.sigma("median", 7)


def test_scores_from_before_the_percentile_was_kept_are_whole_and_have_none():
    old = Scores(0.1, 0.001, 0.012, 1.0, 0.02)
    assert old.finite
    assert old.sigma("auto", 7) == 0.012
    with pytest.raises(ValueError, match="before the percentile was kept"):
        old.sigma("p95", 7)
    assert not Scores(0.1, 0.001, 0.012, 1.0, float("nan")).finite
    assert not Scores(0.1, 0.001, 0.012, 1.0, 0.02, p95_force_std=float("inf")).finite


def test_a_frame_carries_its_own_charge_and_multiplicity_or_its_campaigns() -> None:
    ion = Atoms("OH", info={"charge": np.int64(-1), "multiplicity": 1.0, "name": "hydroxide"})
    assert bare(ion).info == {"charge": -1, "multiplicity": 1}
    assert state_of(ion, 0, 3) == (-1, 1)
    assert state_of(Atoms("OH"), 0, 3) == (0, 3)
    assert structure_hash(ion, *own_state(ion)) == structure_hash(ion, -1, 1) != structure_hash(ion)
    assert with_state(ion, (None, 3)).info == {"multiplicity": 3, "name": "hydroxide"}


@pytest.mark.parametrize("value", [0.5, "plus", True, float("nan"), [1]])
def test_what_is_no_whole_number_is_no_charge(value: object) -> None:
    odd = Atoms("OH", info={"charge": value})
    with pytest.raises(InputError, match="a whole number is legal"):
        own_state(odd)
    assert readable_state(odd) == (None, None)  # where nobody asks for it, it does no harm
    assert bare(odd).info == {}
    with pytest.raises(InputError, match="multiplicity = 0: 1 or more"):
        own_state(Atoms("OH", info={"multiplicity": 0}))
