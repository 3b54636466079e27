"""Write what surf and direct find on the packaged trajectory, to compare later releases with.

Run by the release whose numbers are to be kept, as in
``python -m tests.continuation.kept tests/continuation/kept.json``.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path

import torch

import surfing

RUNS = {
    "surf": (surfing.surf, {"starts": 2}),
    "surf, tangent, annealed": (
        surfing.surf,
        {"starts": 2, "predictor": surfing.Tangent(), "anneal": 0.5},
    ),
    "direct": (surfing.direct, {"starts": 2}),
    "direct Adam": (
        surfing.direct,
        {
            "starts": 2,
            "descent": surfing.TorchOptim(partial(torch.optim.Adam, lr=0.05)),
            "max_steps": 60,
        },
    ),
    "direct L-BFGS": (surfing.direct, {"starts": 2, "descent": surfing.LBFGS(), "max_steps": 200}),
    "surf, step control": (surfing.surf, {"starts": 2, "control": surfing.StepControl()}),
}


def found(name: str) -> dict[str, list[str] | list[int]]:
    """Latents as hexadecimal floats, costs and statuses of four targets."""
    call, options = RUNS[name]
    path = surfing.zoo.packaged()
    net = surfing.zoo.generator_from_manifest(path.architecture)
    net.load_state_dict(path.state(-1))
    z = torch.randn(4, 10, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        x = net.eval()(z)
    solution = call(path, x, **options)
    return {
        "z": [v.hex() for v in solution.z.flatten().tolist()],
        "cost": solution.cost.tolist(),
        "status": solution.status.tolist(),
    }


def machine() -> dict[str, str]:
    """What bits depend on."""
    return {"torch": torch.__version__, "cpu": torch.backends.cpu.get_cpu_capability()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    kept = {"release": surfing.__version__, "machine": machine()} | {n: found(n) for n in RUNS}
    Path(sys.argv[1]).write_text(json.dumps(kept, indent=1) + "\n")
