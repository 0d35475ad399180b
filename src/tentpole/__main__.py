"""python -m tentpole"""

from tentpole.cli import main

main()
