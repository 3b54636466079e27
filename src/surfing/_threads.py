"""How OpenMP's threads wait, which has to be said before torch loads it; hence the first import.

Where other processes keep the cores busy, threads that wait by spinning made `surfing demo` fifteen
times slower. Only the command asks for passive waiting; a library leaves its process as it is.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__: list[str] = []

if Path(next(iter(getattr(sys, "argv", [])), "")).stem == "surfing":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
