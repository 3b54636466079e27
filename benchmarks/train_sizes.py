"""Train the generators of real size: 64x64 in colour, a VAE, a WGAN-GP and a style-based one.

``python -m benchmarks.train_sizes PICTURES --out DIR [--device cuda] [--seconds 150]`` trains them
side by side, each in a process of its own, for as many steps as fit the time: a short training is
timed first, while the others are timed too. PICTURES is a folder, or a zip file that
``--pack-pictures ZIP`` made of one. DIR receives a trajectory for each (half precision), a zip file
of each, ``samples.png`` with all sheets and ``training.json``; ``--unpack DIR`` makes trajectories
in single precision of the zip files.

Nothing here needs the command line's packages.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import shutil
import sys
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measure import environment, write_record
from surfing.trajectory import Trajectory
from surfing.zoo.recipes import Recipe, recipe_for
from surfing.zoo.samples import write_sample_sheet
from surfing.zoo.training import train

__all__ = ["MODELS", "main", "pack_pictures", "recipe", "unpack"]

MODELS: dict[str, dict[str, Any]] = {
    "vae": {"model": "vae", "latent_dim": 128, "network": "deep", "width": 24, "other_width": 32},
    "gan": {
        "model": "wgan-gp",
        "latent_dim": 100,
        "network": "deep",
        "width": 24,
        "other_width": 32,
        "upsampling": "nearest",
    },
    "dcgan": {
        "model": "dcgan",
        "latent_dim": 100,
        "network": "deep",
        "width": 24,
        "other_width": 24,
        "upsampling": "nearest",
        "batch_size": 32,
    },
    "style": {
        "model": "wgan-gp",
        "latent_dim": 512,
        "network": "style",
        "width": 16,
        "hidden": 256,
        "other_width": 24,
    },
}
CHECKPOINTS = {"vae": 9, "gan": 12, "dcgan": 12, "style": 11}
TRAINED = ["vae", "gan", "style"]
"""So many in half precision stay below 16 MiB."""

MOST_STEPS = 60_000
_TIMED = (40, 160)
_GRACE = 20.0


def recipe(name: str, pictures: str, *, steps: int, image_size: int = 64) -> Recipe:
    """What is trained under a name of :data:`MODELS`."""
    changes = {"batch_size": 64} | MODELS[name]
    return recipe_for(
        **changes, data=pictures, image_size=image_size, channels=3, flips=True, steps=steps
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, pack and record."""
    options = _parser().parse_args(arguments)
    if options.pack_pictures is not None:
        pack_pictures(options.pictures, options.pack_pictures, options.image_size)
        return
    if options.unpack is not None:
        unpack(options.pictures, options.unpack)
        return
    began = time.monotonic()
    options.out.mkdir(parents=True, exist_ok=True)
    fresh = multiprocessing.get_context("spawn")
    workers = {n: fresh.Process(target=_worker, args=(n, options, began)) for n in options.models}
    for worker in workers.values():
        worker.start()
    for worker in workers.values():
        worker.join(max(0.0, began + options.seconds + _GRACE - time.monotonic()))
        if worker.is_alive():  # what it has recorded so far is a trajectory too
            worker.kill()
            worker.join()
    lines = [_packed(name, options.out) for name in options.models]
    record = {"benchmark": "training of real size"} | environment()
    record |= {"device": _device_name(options.device), "seconds": time.monotonic() - began}
    write_record(options.out / "training.json", record | {"lines": lines})
    _join_sheets([options.out / n / "samples.png" for n in options.models], options.out)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--out", type=Path, default=Path("sizes"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=150.0)
    parser.add_argument(
        "--steps",
        type=int,
        help="instead of as many as fit the time; goes on where it was interrupted",
    )
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=TRAINED)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pack-pictures", type=Path, metavar="ZIP")
    parser.add_argument("--unpack", type=Path, metavar="DIR", help="PICTURES is --out of a run")
    return parser


def _worker(name: str, options: argparse.Namespace, began: float) -> None:
    torch.set_num_threads(options.threads)
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    steps = options.steps or _steps_that_fit(name, options, began)
    print(f"{name}: {steps} steps", file=sys.stderr, flush=True)
    _train(name, options, steps, options.out / name, resume=options.steps is not None)


def _train(
    name: str, options: argparse.Namespace, steps: int, out: Path, *, resume: bool = False
) -> None:
    train(
        recipe(name, str(options.pictures), steps=steps, image_size=options.image_size),
        out,
        checkpoints=CHECKPOINTS[name],
        average=None,
        dtype="float16",
        device=options.device,
        save_seconds=60.0 if resume else 1e9,
        overwrite=not resume,
        command=f"python -m benchmarks.train_sizes --models {name} --steps {steps}",
    )


def _steps_that_fit(name: str, options: argparse.Namespace, began: float) -> int:
    """From the time of a short training and of a longer one, the process warm."""
    ended = []
    for steps in (4, *_TIMED):
        _train(name, options, steps, options.out / f"{name}-timed")
        ended.append(time.monotonic())
    shutil.rmtree(options.out / f"{name}-timed")
    few, many = ended[1] - ended[0], ended[2] - ended[1]
    each = max(1e-4, (many - few) / (_TIMED[1] - _TIMED[0]))
    left = options.seconds - (time.monotonic() - began) - few
    return int(min(MOST_STEPS, max(100, 0.93 * left / each)))


def _packed(name: str, out: Path) -> dict[str, Any]:
    """Zip what was trained; what the record says of it."""
    run = out / name
    trajectory = Trajectory.open(run)
    if not (run / "samples.png").is_file():
        write_sample_sheet(trajectory, run / "samples.png")
    archive = out / f"{name}.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(p for p in run.rglob("*") if p.is_file()):
            packed.write(path, path.relative_to(out))
    parameters = sum(t.numel() for t in trajectory[-1].state.values())
    return {
        "name": name,
        "recipe": trajectory.metadata["recipe"],
        "steps": list(trajectory.steps),
        "parameters": parameters,
        "zip_mib": archive.stat().st_size / 2**20,
    }


def _join_sheets(sheets: list[Path], out: Path) -> None:
    """One picture, the sheets above one another."""
    from PIL import Image

    pictures = [np.asarray(Image.open(path).convert("RGB")) for path in sheets]
    width = max(picture.shape[1] for picture in pictures)
    padded = [
        np.pad(p, ((0, 8), (0, width - p.shape[1]), (0, 0)), constant_values=255) for p in pictures
    ]
    Image.fromarray(np.concatenate(padded)).save(out / "samples.png", optimize=True)


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else device


def pack_pictures(folder: Path, archive: Path, size: int = 64) -> None:
    """Pictures of one size, without loss, in one zip file."""
    from PIL import Image

    from surfing.zoo.data import load_images

    images = load_images(folder, image_size=size, channels=3)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
        for index, image in enumerate(images):
            buffer = io.BytesIO()
            picture = Image.fromarray(image.movedim(0, -1).numpy())
            picture.save(buffer, "webp", lossless=True, quality=100, method=6)
            packed.writestr(f"{index:05}.webp", buffer.getvalue())


def unpack(packed: Path, out: Path) -> None:
    """Trajectories in single precision of the zip files that a run left."""
    for archive in sorted(packed.glob("*.zip")):
        half = out / "half"
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(half)
        trajectory = Trajectory.open(half / archive.stem)
        states = [(s, _single(trajectory.state(i))) for i, s in enumerate(trajectory.steps)]
        single = Trajectory.from_state_dicts(
            states,
            latent=trajectory.latent,
            architecture=trajectory.architecture,
            metadata=trajectory.metadata,
        )
        single.save(out / archive.stem)
        shutil.copy(half / archive.stem / "samples.png", out / archive.stem / "samples.png")


def _single(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {n: t.float() if t.is_floating_point() else t for n, t in state.items()}


if __name__ == "__main__":
    main()
