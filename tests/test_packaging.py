"""What users install: the sdist, the wheel built from it, and the reference files inside."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from support.paths import TOP
from tentpole.labeling import available

pytestmark = pytest.mark.slow


@pytest.mark.skipif(not (TOP / "pyproject.toml").exists(), reason="not a checkout")
def test_every_reference_is_in_the_wheel_built_from_the_sdist(tmp_path: Path) -> None:
    pytest.importorskip("build")
    pytest.importorskip("hatchling")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path), str(TOP)]
    subprocess.run(command, check=True, capture_output=True)
    (sdist,), (wheel,) = list(tmp_path.glob("*.tar.gz")), list(tmp_path.glob("*.whl"))
    written = {path.name for path in (TOP / "calculators").iterdir()}
    assert {f"{name}.toml" for name in available()} == written - {"README.md"}
    with tarfile.open(sdist) as archive:
        names = [name.split("/", 1)[1] for name in archive.getnames() if "/" in name]
    assert {name.removeprefix("calculators/") for name in names if name.startswith("calculators/")} == written
    with zipfile.ZipFile(wheel) as archive:
        shipped = [name for name in archive.namelist() if name.startswith("tentpole/calculators/")]
        assert {Path(name).name for name in shipped} == written
        for name in shipped:
            assert archive.read(name) == (TOP / "calculators" / Path(name).name).read_bytes()
    inside = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(inside)
    script = "import tentpole, tentpole.labeling as l; print(tentpole.__file__, l.available())"
    answer = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(inside)},
        capture_output=True,
        text=True,
    )
    assert str(inside) in answer.stdout, answer.stderr
    assert str(available()) in answer.stdout
