"""Records: what a frame's σ is of its atoms'."""

import pytest

from tentpole.records import Scores


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
