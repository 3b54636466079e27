from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import surfing
from surfing.errors import InputError, NotATrajectoryError, OutputExistsError, TrajectoryError
from surfing.integrations.hub import from_pretrained, save_pretrained


def test_what_is_saved_is_what_is_loaded(
    path: surfing.Trajectory, net: nn.Module, y: Tensor, tmp_path: Path
) -> None:
    save_pretrained(path, tmp_path / "student")
    loaded = from_pretrained(tmp_path / "student")
    assert loaded.steps == path.steps
    assert loaded.latent == path.latent
    assert loaded.architecture == path.architecture
    for mine, theirs in zip(path, loaded, strict=True):
        assert mine.state.keys() == theirs.state.keys()
        assert all(torch.equal(mine.state[name], theirs.state[name]) for name in mine.state)
    assert loaded.verify().checkpoints == len(path)


def test_the_card_says_what_is_there_and_is_never_replaced(
    path: surfing.Trajectory, tmp_path: Path
) -> None:
    folder = tmp_path / "student"
    save_pretrained(path, folder)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: surfing\n")
    for fact in ("# student", "8, steps 0 to 140", "`Normal(dim=3)`", "| architecture | mlp |"):
        assert fact in card
    (folder / "README.md").write_text("mine", encoding="utf-8")
    with pytest.raises(OutputExistsError):
        save_pretrained(path, folder)
    save_pretrained(path[::2], folder, overwrite=True)
    assert from_pretrained(folder).steps == path.steps[::2]
    assert (folder / "README.md").read_text(encoding="utf-8") == "mine"


def test_bad_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotATrajectoryError):
        from_pretrained(tmp_path)
    with pytest.raises(InputError, match="owner/name"):
        from_pretrained(tmp_path / "nowhere")
    with pytest.raises(InputError, match="revision"):
        from_pretrained(tmp_path, revision="main")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's library as it is, without a network: it looks into its cache."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    assets = importlib.import_module("huggingface_hub.utils._cache_assets")
    monkeypatch.setattr(assets, "HF_ASSETS_CACHE", str(tmp_path / "assets"))
    return tmp_path / "cache"


def test_a_repository_in_the_hubs_cache_is_opened(path: surfing.Trajectory, cache: Path) -> None:
    """Its files are links to blobs, as the hub's library lays them out."""
    commit, repository = "0" * 40, cache / "models--somebody--student"
    save_pretrained(path, repository / "blobs")
    (repository / "snapshots" / commit).mkdir(parents=True)
    for file in (repository / "blobs").iterdir():
        (repository / "snapshots" / commit / file.name).symlink_to(f"../../blobs/{file.name}")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit, encoding="utf-8")
    loaded = from_pretrained("somebody/student")
    assert loaded.steps == path.steps
    assert loaded.verify().checkpoints == len(path)
    assert loaded.path is not None
    assert cache.parent in loaded.path.parents
    assert from_pretrained("somebody/student", revision=commit).steps == path.steps


def test_a_repository_that_cannot_be_had(cache: Path) -> None:
    with pytest.raises(TrajectoryError, match=r"nobody/nothing: .* download failed"):
        from_pretrained("nobody/nothing", revision="v1")
