"""python -m tentpole."""

import os
import sys

if not sys.flags.safe_path and sys.path and sys.path[0] in ("", os.getcwd()):  # noqa: PTH109 - pathlib may lie there too
    del sys.path[0]  # the current folder, which -m puts first: what lies there is not to be imported

from tentpole.cli import main

main()
