"""How many walkers advance in one process: as the file says, or as structures and cores have it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tentpole.campaign import exploring
from tentpole.campaign.exploring import LARGE, walkers_together
from tentpole.config.loading import load
from tentpole.errors import InputError

Make = Callable[..., Path]


def test_auto_gives_every_core_its_share_of_small_structures(
    campaign_file: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exploring, "choose_device", lambda _: "cpu")
    config = load(campaign_file())
    assert [walkers_together(config, [7] * count, 2) for count in (1, 2, 5, 16)] == [1, 1, 3, 8]
    assert walkers_together(config, [7, LARGE + 1, 7, 7], 2) == 1
    monkeypatch.setattr(exploring, "choose_device", lambda _: "cuda")
    assert walkers_together(config, [200] * 5, 2) == 5


@pytest.mark.parametrize("committee", [{"evaluation": "mace"}, {"kind": "shallow"}, {"driver": "chgnet"}])
def test_what_gains_nothing_by_it_walks_alone(
    campaign_file: Make, monkeypatch: pytest.MonkeyPatch, committee: dict[str, object]
) -> None:
    monkeypatch.setattr(exploring, "choose_device", lambda _: "cpu")
    monkeypatch.setattr("tentpole.config.loading.check_import", lambda _: None)
    config = load(campaign_file(committee={"members": 2, **committee}))
    assert walkers_together(config, [7] * 8, 2) == 1


def test_a_driver_imports_no_torch_where_there_is_no_gpu() -> None:
    program = (
        "import sys; from tentpole.committee import committee as c\n"
        "P = c.Path; P.iterdir = lambda _: map(P, ['null', 'nvme0n1', 'nvram']); c.sys.platform = 'linux'\n"
        "print(c.choose_device('auto'), 'torch' in sys.modules, [*map(c._is_gpu, map(P, ['nvidiactl', 'dxg', 'kfd']))])"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=300)
    assert told.stdout.split(maxsplit=2) == ["cpu", "False", "[True, True, True]\n"]


def test_the_campaign_file_may_say_it(campaign_file: Make) -> None:
    config = load(campaign_file(executor={"workers": 2, "walkers_together": 3}))
    assert walkers_together(config, [200] * 8, 2) == 3


def test_what_is_not_installed_is_said_before_anything_is_spent(
    campaign_file: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tentpole.errors.find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"committee\.evaluation.*needs cuequivariance_torch.*pip install"):
        load(campaign_file(committee={"members": 2, "evaluation": "cuequivariance"}))
