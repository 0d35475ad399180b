"""A folder that goes while a label is computed does not come back, though calculators make the one they write to."""

from pathlib import Path

import pytest
from ase.build import bulk

from tentpole.errors import StateError
from tentpole.labeling import Task, compute, load

GOING = """
import shutil
from pathlib import Path
from ase.calculators.lj import LennardJones

class Going(LennardJones):
    def calculate(self, atoms=None, properties=None, system_changes=()):
        root = Path(self.directory).parents[2]
        root.rename(root.with_name("moved")) if {moved} else shutil.rmtree(root)
        super().calculate(atoms, properties, system_changes)
        if {fails}:
            raise RuntimeError("no")
"""


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("moved", [False, True])
def test_a_folder_that_goes_while_a_label_is_computed_does_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: bool, fails: bool
) -> None:
    name = f"going_{moved}_{fails}".lower()
    (tmp_path / f"{name}.py").write_text(GOING.format(moved=moved, fails=fails))
    text = f'calculator = "{name}:Going"\ncode_version = "1"\n'
    (tmp_path / "going.toml").write_text(text + 'properties = ["energy", "forces"]\n[parameters]\nsigma = 2.3\n')
    monkeypatch.syspath_prepend(tmp_path)
    root = tmp_path / "run"
    root.mkdir()
    task = Task(root, load(str(tmp_path / "going.toml")), bulk("Cu", cubic=True), root_exists=True)
    with pytest.raises(StateError, match="was moved or removed while a label was computed"):
        compute(task)
    assert not root.exists()
    assert not list(tmp_path.glob("moved/labels/*/*.json"))
