"""Where things are: the project, its examples and scripts, data of the tests, and measuring data beside the project."""

from pathlib import Path

TOP = Path(__file__).parents[2]
EXAMPLES = TOP / "examples"
DATA = TOP / "tests" / "data"
SHARED = TOP.parent / "shared"
