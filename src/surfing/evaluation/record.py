"""What a number needs beside it to be believed: seed, versions, machine, time."""

from __future__ import annotations

import os
import platform
import time
from typing import Any

import numpy as np
import torch

from surfing._version import __version__

__all__ = ["provenance"]


def provenance(seed: int, *, began: float | None = None) -> dict[str, Any]:
    """Facts about this run, JSON values.

    Args:
        seed: of the run.
        began: `time.perf_counter()` at its start.
    """
    return {
        "seed": seed,
        "versions": {
            "surfing": __version__,
            "torch": str(torch.__version__),
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "cpus": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "seconds": None if began is None else round(time.perf_counter() - began, 1),
    }
