"""A G(z) and its k tangents against k + 1 forwards of the same network, and against the floor.

The floor is what k + 1 forwards cost in multiplications, at the rate of this machine's own matrix
product. Times are processor time, the least of several rounds in which all take turns: what else
the machine does then matters little. With two threads they are wall time, which says something
only on a machine that does nothing else.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
from cyclopts import App, Parameter
from torch import Tensor, nn
from torch.func import jvp, vmap

from benchmarks import measure
from surfing.architectures import conv_generator, mlp_generator
from surfing.generator import Generator
from surfing.problem.program import Program

__all__ = ["main", "multiplications"]

app = App(help=__doc__)

NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "conv, width 16, 28x28": lambda k: conv_generator(latent_dim=k, width=16, hidden=128),
    "MLP, 2 x 256, 14x14": lambda k: mlp_generator(latent_dim=k, image_size=14),
}


@app.default
def main(
    *,
    out: Path = Path("docs/records/jacobian.json"),
    rows: int = 64,
    latents: tuple[int, ...] = (10, 20, 40),
    threads: tuple[int, ...] = (1, 2),
    rounds: int = 15,
    seed: int = 0,
    short: Annotated[bool, Parameter(name="--quick")] = False,
) -> dict[str, Any]:
    """Measure and write the record.

    Args:
        out: the record.
        rows: latents at a time.
        latents: k.
        threads: of torch.
        rounds: of which the fastest counts.
        seed: of weights and latents.
        short: 4 rows, 2 rounds: shows that it runs.
    """
    began = time.perf_counter()
    rows, rounds = (4, 2) if short else (rows, rounds)
    before = torch.get_num_threads()
    record: dict[str, Any] = {"benchmark": "jacobian", "quick": short} | measure.environment()
    record |= {"seed": seed, "rows": rows, "rounds": rounds, "lines": []}
    for count in threads:
        torch.set_num_threads(count)
        rate = _rate(rounds, count)
        for name in NETWORKS:
            for k in latents:
                line = {"network": name, "k": k, "threads": count, "gigaflops": rate}
                record["lines"].append(line | compare(name, k, rows, rounds, seed, rate, count))
                print(record["lines"][-1], file=sys.stderr, flush=True)
    torch.set_num_threads(before)
    record["seconds"] = time.perf_counter() - began
    measure.write_record(out, record)
    return record


def compare(
    name: str, k: int, rows: int, rounds: int, seed: int, rate: float, threads: int
) -> dict[str, Any]:
    """Milliseconds of each way to k + 1 directions, and their ratios to eager forwards."""
    torch.manual_seed(seed)
    generator = Generator(NETWORKS[name](k))
    state = generator.module.state_dict()
    bound, program = generator.at(state), Program.trace(generator.module)
    if program is None:
        raise RuntimeError(f"{name}: expected a network that the structured engine reads.")
    fixed = program.bind(state)
    z = torch.randn(rows, k)
    repeated, basis = z.repeat(k + 1, 1), torch.eye(k)

    def forward_mode() -> Any:
        return vmap(lambda e: jvp(bound, (z,), (e.expand(rows, k),)))(basis)

    tasks: dict[str, Callable[[], Any]] = {
        "forwards": lambda: generator.module(repeated),
        "vmap_jvp": forward_mode,
        "bind_and_tangents": lambda: program.bind(state).linearise(z),
        "tangents": lambda: fixed.linearise(z),
    }
    with torch.no_grad():
        seconds = _fastest(tasks, rounds, threads)
    work = 2 * multiplications(generator.module, z[:1]) * rows * (k + 1)
    floor = work / (rate * 1e9)
    return {
        "milliseconds": {n: 1e3 * s for n, s in seconds.items()},
        "floor_milliseconds": 1e3 * floor,
        "of_forwards": {n: s / seconds["forwards"] for n, s in seconds.items()},
        "floor_of_forwards": floor / seconds["forwards"],
    }


def multiplications(module: nn.Module, z: Tensor) -> int:
    """Multiply-adds of one forward of one row, in its affine layers."""
    counts: list[int] = []

    def count(layer: nn.Module, inputs: Any, output: Tensor) -> None:
        weight: Any = layer.weight
        # weight[0] is what one input number (transposed) or one output number takes part in.
        if isinstance(layer, nn.ConvTranspose2d):
            counts.append(weight[0].numel() * inputs[0][0].numel())
        elif isinstance(layer, nn.Conv2d):
            counts.append(weight[0].numel() * output[0].numel())
        else:
            counts.append(weight.numel())

    kinds = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
    layers = [layer for layer in module.modules() if isinstance(layer, kinds)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.no_grad():
        module(z)
    for hook in hooks:
        hook.remove()
    return sum(counts)


def _rate(rounds: int, threads: int) -> float:
    """This machine's matrix product in 10^9 floating-point operations a second."""
    a, b = torch.randn(512, 512), torch.randn(512, 512)
    best = _fastest({"product": lambda: a @ b}, max(5, rounds), threads)["product"]
    return 2 * 512**3 / best / 1e9


def _fastest(tasks: dict[str, Callable[[], Any]], rounds: int, threads: int) -> dict[str, float]:
    clock = time.process_time if threads == 1 else time.perf_counter
    best = dict.fromkeys(tasks, float("inf"))
    for _ in range(rounds + 1):  # the first round warms up
        for name, task in tasks.items():
            began = clock()
            task()
            best[name] = min(best[name], clock() - began)
    return best


if __name__ == "__main__":
    app(result_action="return_none")
