"""The public face: names, and how light it is to import."""

import json
import subprocess
import sys
from types import ModuleType

import pytest

import surfing
from surfing import errors

MEASURE = """
import json, sys, time
began = time.perf_counter()
import numpy.random, safetensors.torch, torch  # numpy loads its random numbers when asked
base = time.perf_counter() - began
before = {name.partition(".")[0] for name in sys.modules}
began = time.perf_counter()
import surfing
import surfing.integrations
own = time.perf_counter() - began
after = {name.partition(".")[0] for name in sys.modules}
print(json.dumps({"base": base, "own": own, "new": sorted(after - before)}))
"""


@pytest.fixture(scope="module")
def fresh() -> dict[str, object]:
    """What a process of its own says about `import surfing`."""
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, check=True)
    return json.loads(done.stdout)


def test_all_names_everything_public_once() -> None:
    names = {
        name
        for name, value in vars(surfing).items()
        if getattr(value, "__module__", "").startswith("surfing.") and not name.startswith("_")
    }
    assert sorted(surfing.__all__) == sorted(names | {"__version__"})


def test_the_whole_error_tree_is_public() -> None:
    tree = {name for name in errors.__all__ if name.endswith("Error")}
    assert tree <= set(surfing.__all__)


@pytest.mark.parametrize("name", ["evaluation", "integrations", "report", "theory", "zoo"])
def test_subpackages_come_when_they_are_asked_for(name: str) -> None:
    assert isinstance(getattr(surfing, name), ModuleType)
    assert name in dir(surfing)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="surfin"):
        _ = surfing.surfin


def test_import_loads_torch_numpy_and_safetensors_only(fresh: dict[str, object]) -> None:
    new = fresh["new"]
    assert isinstance(new, list)
    assert set(new) - set(sys.stdlib_module_names) == {"surfing"}


def test_import_takes_less_than_torch_does(fresh: dict[str, object]) -> None:
    own, base = fresh["own"], fresh["base"]
    assert isinstance(own, float)
    assert isinstance(base, float)
    assert own < base / 2


def test_the_version_is_the_installed_one() -> None:
    from importlib.metadata import version

    assert version("surfing") == surfing.__version__
