"""Random numbers: one stream per purpose and key; what older campaigns drew is drawn again."""

import numpy as np
import pytest

from tentpole.errors import InputError
from tentpole.exploration import WalkerSeed
from tentpole.exploration.random_numbers import generator


def drawn(*what: object, scheme: int = 2) -> list[float]:
    return generator(*what, scheme=scheme).normal(size=4).tolist()


def test_no_two_streams_are_the_same():
    streams = [drawn(7, "initial structures"), drawn(7, "selection", 1), drawn(8, "initial structures")]
    streams += [drawn(7, "validation", i) for i in range(3)]
    streams += [drawn(7, "walker", number, i) for number in range(3) for i in range(3)]
    streams += [drawn(7, "walker sent back", number, i, n) for number in range(2) for i in range(2) for n in range(3)]
    first = [stream[0] for stream in streams]
    assert len(set(first)) == len(first)


def test_the_first_labels_share_nothing_with_the_first_walker():
    old = np.corrcoef(drawn(3, "initial structures", scheme=1), drawn(3, "walker", 1, 0, scheme=1))[0, 1]
    assert old == pytest.approx(1.0)  # why there is a second scheme
    one = generator(3, "initial structures").normal(size=1000)
    assert abs(np.corrcoef(one, generator(3, "walker", 1, 0).normal(size=1000))[0, 1]) < 0.1


def test_scheme_1_is_what_campaigns_drew_before():
    assert drawn(3, "initial structures", scheme=1) == np.random.default_rng([3, 1]).normal(size=4).tolist()
    assert drawn(3, "validation", 2, scheme=1) == np.random.default_rng([3, 2, 2]).normal(size=4).tolist()
    assert drawn(3, "selection", 5, scheme=1) == np.random.default_rng([3, 3, 5]).normal(size=4).tolist()
    seed = WalkerSeed(3, 5, 1, scheme=1)
    assert seed.begin().normal() == np.random.default_rng([3, 5, 1]).normal()
    assert seed.sent_back(2).normal() == np.random.default_rng([3, 5, 1, 3]).normal()


def test_scheme_2_draws_the_same_for_ever():
    assert generator(20261121, "walker", 1, 0).integers(1 << 30) == 484033053


def test_what_cannot_be_is_refused():
    with pytest.raises(InputError, match='did you mean "walker"'):
        generator(0, "walkers")
    with pytest.raises(InputError, match="scheme of random numbers 3"):
        generator(0, "walker", scheme=3)
    with pytest.raises(InputError, match="0 or more"):
        generator(-1, "walker")
