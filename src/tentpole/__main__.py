"""python -m tentpole"""

from tentpole.cli.app import main

main()
