"""The examples in docstrings of what users meet run, and give what they say."""

import doctest
from importlib import import_module

import pytest

MODULES = [
    "tentpole.records",
    "tentpole.committee.calculator",
    "tentpole.committee.committee",
    "tentpole.committee.hyperparameter_limits",
    "tentpole.committee.neighbourhood",
    "tentpole.entropy.bias",
    "tentpole.entropy.covariance",
    "tentpole.entropy.gom.fingerprint",
    "tentpole.entropy.greedy_choice",
    "tentpole.entropy.settings",
    "tentpole.exploration.npt",
    "tentpole.exploration.random_numbers",
    "tentpole.selection",
    "tentpole.selection.base",
    "tentpole.selection.two_key",
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_run(name: str) -> None:
    done = doctest.testmod(import_module(name), optionflags=doctest.ELLIPSIS)
    assert done.attempted
    assert not done.failed
