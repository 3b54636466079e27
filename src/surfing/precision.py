"""The surroundings of a call: no autocast, no inference mode."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack
from typing import ParamSpec, TypeVar

import torch

__all__ = ["plain_precision"]

P = ParamSpec("P")
R = TypeVar("R")


def plain_precision(call: Callable[P, R]) -> Callable[P, R]:
    """Run a function outside of the caller's autocast and inference mode.

    The precision of the one is too low for a descent; in the other derivatives are zero without a
    word.
    """

    @functools.wraps(call)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with ExitStack() as stack:
            if torch.is_inference_mode_enabled():
                stack.enter_context(torch.inference_mode(False))
            for device in ("cpu", "cuda"):
                if torch.is_autocast_enabled(device):
                    stack.enter_context(torch.autocast(device, enabled=False))
            return call(*args, **kwargs)

    return wrapped
