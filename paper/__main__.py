"""``python -m paper``; a module of its own, since processes import what they run."""

import sys

from paper.command import main

if __name__ == "__main__":
    sys.exit(main())
