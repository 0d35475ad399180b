"""One running program for many labels, over the i-PI protocol of ASE: start-up and density are reused.

Labels agree with those of fresh processes closely, not to the last bit, and depend a little on the order they
were computed in. Whether it pays is the program's matter: fewer SCF steps per label against what it does anew at
each message. Measure both on a few frames before a campaign.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from tentpole.errors import InputError
from tentpole.execution.ownership import own_folder
from tentpole.labeling.codes import Setup
from tentpole.labeling.references import Reference

PATIENCE_S = 5.0  # for the program's text to catch up with its numbers
UNBUFFERED = {"GFORTRAN_UNBUFFERED_PRECONNECTED": "1", "FORT_BUFFERED": "FALSE"}

_count = itertools.count()
_running: dict[str, Running] = {}  # at most one program per worker


class Running:
    """A program that waits for positions at a socket, and the end of its output read so far."""

    def __init__(self, reference: Reference, setup: Setup, place: Path) -> None:
        if not reference.code.socket_output:
            raise InputError(f"{reference.name}: {reference.import_path} has no socket interface in ASE.")
        self.folder = own_folder(place, f"socket{next(_count)}")
        self.folder.mkdir(parents=True)
        self.output = self.folder / reference.code.socket_output
        self.key = key(reference, setup)
        calculator = reference.make(setup.keywords, self.folder)
        name = f"tentpole-{os.getpid()}-{next(_count)}"
        os.environ |= UNBUFFERED  # the verdict of each SCF is read from text as soon as its numbers arrive
        self._client = calculator.socketio(unixsocket=name)
        self._read = 0

    def calculate(self, reference: Reference, atoms: Atoms, wanted: list[str]) -> tuple[dict[str, Any], str]:
        """Results for `atoms`, and what the program wrote about them. Raises whatever the socket does."""
        self._client.calculate(atoms, wanted, ["positions"])
        results = dict(self._client.results)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            text = self.output.read_bytes()[self._read :].decode(errors="replace")
            if reference.code.concluded(text) or time.monotonic() > deadline:
                break
            time.sleep(0.02)
        self._read += len(text.encode())
        return results, text

    def close(self) -> None:
        """End the program and remove its folder."""
        # a dead program cannot be asked to leave, and pw.x goes with a signal and a warning of ASE's
        with contextlib.suppress(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._client.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def key(reference: Reference, setup: Setup) -> str:
    """What a running program keeps, in words to compare.

    Its settings, species in their order, the moments that its density started from, and the cell with its plane waves.
    """
    settings = {name: value for name, value in setup.keywords.items() if name != "txt"}
    cell = np.asarray(setup.atoms.cell.array).tobytes().hex()
    moments = setup.atoms.get_initial_magnetic_moments().tolist()
    return f"{reference.import_path} {sorted(settings.items())!r} {setup.atoms.numbers.tolist()} {moments} {cell}"


def calculate(
    reference: Reference, setup: Setup, wanted: list[str], directory: Path
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Results and facts from the program that runs already, or from one started now.

    Its output about this label is written to `directory`. Raises LabelError unless the SCF converged; the
    program is then ended, for the next label must not start from a bad density.
    """
    running = _running.get("")
    if running is None or running.key != key(reference, setup):
        end()
        running = _running[""] = Running(reference, setup, directory.parents[1])
    try:
        results, text = running.calculate(reference, setup.atoms, wanted)
        facts = reference.code.judge(text)
    except BaseException:
        with contextlib.suppress(OSError):
            shutil.copy(running.output, directory)
        end()
        raise
    (directory / running.output.name).write_text(text, encoding="utf-8")
    return results, {**facts, "persistent": True}


def end() -> None:
    """End the running program, if there is one."""
    running = _running.pop("", None)
    if running is not None:
        running.close()
