"""The frames that the study of query by committee is made on."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from support.paths import EXAMPLES


@pytest.mark.real
def test_the_study_finds_the_frames_that_its_script_makes(tmp_path: Path) -> None:
    pytest.importorskip("tblite")
    from tentpole.storage.labelled import read_labelled

    spec = importlib.util.spec_from_file_location("frames", EXAMPLES / "05_zundel_qbc" / "make_frames.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.EVERY = 2
    found = read_labelled(script.main(tmp_path / "zundel.extxyz", 4)).frames
    assert len(found) == 4
    assert all(np.isfinite(atoms.arrays["REF_forces"]).all() for atoms in found)
