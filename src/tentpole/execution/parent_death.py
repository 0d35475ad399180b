"""Run a command that ends when its parent does.

`python -m tentpole.execution.parent_death COMMAND ...`

Parsl's interchange outlives a driver that is killed, and with it the jobs that hold the nodes. On Linux the
kernel is asked to end it too; elsewhere the command runs as it is.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Become the command that this module was given."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it died before the kernel was asked
        sys.exit(1)
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
