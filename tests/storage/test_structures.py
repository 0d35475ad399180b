"""Files of structures: packed ones are read, up to a limit of what they unpack to."""

import bz2
import gzip
import lzma
from pathlib import Path
from typing import Any

import pytest
from ase.build import bulk
from ase.io import write

from tentpole.errors import InputError
from tentpole.storage import structures
from tentpole.storage.structures import read_structures


@pytest.mark.parametrize(("ending", "pack"), [(".gz", gzip), (".bz2", bz2), (".xz", lzma)])
def test_a_packed_file_is_read_and_one_that_swells_beyond_the_limit_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, pack: Any
) -> None:
    plain = tmp_path / "cu.xyz"
    write(plain, [bulk("Cu")] * 3, format="extxyz")
    packed = plain.with_name(f"cu.xyz{ending}")
    packed.write_bytes(pack.compress(plain.read_bytes()))
    assert len(read_structures(packed, ":", "frames")) == 3
    bomb = tmp_path / f"zeros.xyz{ending}"
    bomb.write_bytes(pack.compress(bytes(3 * 2**20)))
    monkeypatch.setattr(structures, "UNPACKED_LIMIT", 2**20)
    with pytest.raises(InputError, match=rf"frames: .*zeros.xyz{ending} unpacks to more than 1 MiB"):
        read_structures(bomb, ":", "frames")
    cut = tmp_path / f"cut.xyz{ending}"
    cut.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(InputError, match="cannot read"):
        read_structures(cut, ":", "frames")
