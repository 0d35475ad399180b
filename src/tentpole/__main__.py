"""python -m tentpole"""

import sys

if not sys.flags.safe_path:
    del sys.path[0]  # the current folder: what lies there is not to be imported

from tentpole.cli.app import main

main()
