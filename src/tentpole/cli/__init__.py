"""The command `tentpole`."""

from tentpole.cli.app import main

__all__ = ["main"]
