"""Imported by a fork server: takes until a file is there."""

import os
import time
from pathlib import Path

from tentpole.execution.starting import importing

with importing():
    if "STARTED" in os.environ:
        Path(os.environ["STARTED"]).touch()
    while not Path(os.environ["WAIT_FOR"]).is_file():
        time.sleep(0.01)
