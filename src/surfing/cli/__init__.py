"""The command line: ``surfing COMMAND``."""

from surfing.cli.app import main

__all__ = ["main"]
