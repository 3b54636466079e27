"""What torch says of itself is not told to users, and nothing else is kept from them."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = """
import warnings
import torch, surfing
from torch import nn
warnings.simplefilter("error")
net = nn.Sequential(nn.Linear({k}, 8), nn.ReLU(), nn.Linear(8, 256))
states = [(0, net.state_dict())]
trajectory = surfing.Trajectory.from_state_dicts(states, latent=surfing.Normal({k}))
operator = {operator}
with torch.no_grad():
    y = net(torch.ones(2, {k}))
y = y if operator is None else operator(y)
solution = surfing.direct(trajectory, y, generator=net, operator=operator, max_steps=2)
assert not solution.notes, solution.notes
try:
    warnings.warn("`torch.jit.script` is deprecated.", FutureWarning, stacklevel=1)
except FutureWarning:
    print("others hear of it")
"""

SETTINGS = {
    "tangents": {"k": "3", "operator": "lambda x: x.square()"},
    "products": {"k": "200", "operator": "None"},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_first_forward_mode_of_a_process_is_silent(name: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(**SETTINGS[name])], capture_output=True, text=True
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == "others hear of it\n"
