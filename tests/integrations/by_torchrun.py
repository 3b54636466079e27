"""What each of two processes of ``torchrun`` does; :mod:`test_two_processes` starts it.

by_torchrun.py lightning|transformers FOLDER
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

warnings.simplefilter("ignore")

RANKS, BATCH, LATENT, RATE = 2, 4, 2, 0.1
STAGES = (3, 5, 7)
"""Steps at which the checkpoint is written, the first training ends, the resumed one ends."""


def targets() -> Tensor:
    """What the generator is to make of the latents; the halves differ, one for each rank."""
    return torch.linspace(-1, 1, RANKS * BATCH * 3).reshape(RANKS * BATCH, 3)


def latents() -> Tensor:
    return torch.linspace(1, 2, RANKS * BATCH * LATENT).reshape(RANKS * BATCH, LATENT)


def generator() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(LATENT, 3)


def record_into(folder: Path) -> dict[str, Any]:
    """Each rank would write to a place of its own, so that one that does is seen."""
    return {"path": folder / f"run-{os.environ['RANK']}", "every": 1}


def by_lightning(folder: Path) -> int:
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.callbacks import ModelCheckpoint
    from torch.utils.data import DataLoader

    from surfing.integrations.lightning import RecorderCallback

    rank = int(os.environ["RANK"])
    mine = slice(rank * BATCH, (rank + 1) * BATCH)

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.generator = generator()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), RATE)

        def training_step(self, batch: Tensor, index: int) -> Tensor:
            return (self.generator(batch) - targets()[mine]).square().mean()

    def fit(steps: int, resume: Path | None = None) -> int:
        callback = RecorderCallback(**record_into(folder))
        trainer = Trainer(
            accelerator="cpu",
            devices=RANKS,
            strategy="ddp",
            max_steps=steps,
            use_distributed_sampler=False,
            callbacks=[callback, ModelCheckpoint(folder, every_n_train_steps=STAGES[0])],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        batches = DataLoader([latents()[mine]] * STAGES[-1], batch_size=None)
        trainer.fit(Module(), batches, ckpt_path=resume, weights_only=True)
        return callback.generator_steps

    fit(STAGES[1])
    return fit(STAGES[2], next(folder.glob("*.ckpt")))


def by_transformers(folder: Path) -> int:
    import transformers

    from surfing.integrations.transformers import RecorderCallback

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.generator = generator()

        def forward(self, z: Tensor, labels: Tensor) -> dict[str, Tensor]:
            x = self.generator(z)
            return {"loss": (x - labels).square().mean(), "x": x}

    def fit(steps: int, resume: str | None = None) -> int:
        arguments = transformers.TrainingArguments(
            output_dir=str(folder / "trainer"),
            max_steps=steps,
            per_device_train_batch_size=BATCH,
            learning_rate=RATE,
            lr_scheduler_type="constant",
            optim="sgd",
            max_grad_norm=0.0,
            save_strategy="steps",
            save_steps=STAGES[0],
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
            logging_strategy="no",
            dataloader_pin_memory=False,
        )
        data = [{"z": z, "labels": x} for z, x in zip(latents(), targets())]
        trainer = transformers.Trainer(
            Model(),
            arguments,
            train_dataset=data,
            callbacks=[RecorderCallback(**record_into(folder))],
        )
        trainer.train(resume_from_checkpoint=resume)
        return int(trainer.state.global_step)

    fit(STAGES[1])
    return fit(STAGES[2], str(folder / "trainer" / f"checkpoint-{STAGES[0]}"))


if __name__ == "__main__":
    out = Path(sys.argv[2])
    steps = {"lightning": by_lightning, "transformers": by_transformers}[sys.argv[1]](out)
    (out / f"steps-{os.environ['RANK']}").write_text(str(steps), encoding="utf-8")
    torch.distributed.destroy_process_group()
