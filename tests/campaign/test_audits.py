"""Audit frames: every condition and walker has its share, every frame of a walker the same chance."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tentpole.campaign.audits import draw_audits
from tentpole.errors import InputError


def pool(sizes):
    """conditions and walkers of frames: sizes[condition][walker] frames each."""
    names = [(c, f"{c}-w{w}") for c, walkers in sizes.items() for w, n in enumerate(walkers) for _ in range(n)]
    return [c for c, _ in names], [w for _, w in names]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), st.integers(0, 40), st.lists(st.lists(st.integers(1, 6), min_size=1), min_size=1))
def test_conditions_and_their_walkers_take_turns(seed, count, sizes):
    conditions, walkers = pool({f"c{i}": w for i, w in enumerate(sizes)})
    drawn = draw_audits(conditions, walkers, count, np.random.default_rng(seed))
    assert len(set(drawn)) == len(drawn) == min(count, len(conditions))
    for names in (conditions, walkers):
        held, given_ = Counter(names), Counter(names[i] for i in drawn)
        of = dict(zip(walkers, conditions, strict=True))
        for a in held:
            for b in held:
                rivals = names is conditions or of[a] == of[b]
                if rivals and given_[a] < held[a]:  # a had frames left: nobody was called two turns more often
                    assert given_[b] <= given_[a] + 1


def test_fewer_frames_are_the_first_of_the_same():
    conditions, walkers = pool({"cold": [5, 5], "hot": [7]})
    many = draw_audits(conditions, walkers, 12, np.random.default_rng(3))
    assert draw_audits(conditions, walkers, 5, np.random.default_rng(3)) == many[:5]


def test_every_frame_of_a_walker_is_as_likely_as_any_other():
    conditions, walkers = pool({"cold": [6, 6], "hot": [12]})
    rng = np.random.default_rng(4)
    times = np.bincount(
        [i for _ in range(3000) for i in draw_audits(conditions, walkers, 4, rng)], minlength=len(conditions)
    )
    np.testing.assert_allclose(times / 3000, 2 / 12, atol=5 * np.sqrt(2 / 12 * 10 / 12 / 3000))


def test_nothing_and_wrong_input():
    rng = np.random.default_rng(0)
    assert draw_audits([], [], 5, rng) == []
    assert draw_audits(["a"], ["w"], 0, rng) == []
    with pytest.raises(InputError, match="1 conditions and 2 walkers"):
        draw_audits(["a"], ["w", "w"], 1, rng)
    with pytest.raises(InputError, match="count = -1"):
        draw_audits(["a"], ["w"], -1, rng)
