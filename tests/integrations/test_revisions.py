"""Repositories that keep each step of a training as a branch or tag of its own."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import torch
from safetensors.torch import save

from surfing import import_checkpoints
from surfing.cli import main
from surfing.errors import EmptyTrajectoryError, InputError, TrajectoryError
from surfing.integrations.hub import fetch_revisions

STEPS = (0, 64, 1000)
NAME = "somebody/pythia"


def weights(step: int) -> dict[str, torch.Tensor]:
    return {"0.weight": torch.full((3, 2), float(step)), "0.bias": torch.zeros(3)}


def commit_of(revision: str) -> str:
    return hashlib.sha1(revision.encode()).hexdigest()


def revisions() -> dict[str, dict[str, bytes]]:
    """What each branch or tag holds: main is a copy of the last step."""
    files = {f"step{step}": {"model.safetensors": save(weights(step))} for step in STEPS}
    for held in files.values():
        held |= {"README.md": b"# A model", "optimizer.pt": b"no weights"}
    return files | {"main": files[f"step{STEPS[-1]}"]}


def lay_out(cache: Path) -> Path:
    """As the hub's library does: files are links to blobs, and a branch or tag names a commit."""
    repository = cache / f"models--{NAME.replace('/', '--')}"
    (repository / "blobs").mkdir(parents=True)
    (repository / "refs").mkdir()
    for revision, files in revisions().items():
        snapshot = repository / "snapshots" / commit_of(revision)
        snapshot.mkdir(parents=True)
        for name, data in files.items():
            blob = hashlib.sha256(data).hexdigest()
            (repository / "blobs" / blob).write_bytes(data)
            (snapshot / name).symlink_to(f"../../blobs/{blob}")
        (repository / "refs" / revision).write_text(commit_of(revision), encoding="utf-8")
    return repository


def expect_all_steps(run: Path) -> None:
    from surfing import Trajectory

    trajectory = Trajectory.open(run)
    assert trajectory.steps == STEPS
    for step, index in zip(STEPS, range(3)):
        assert torch.equal(trajectory.state(index)["0.weight"], weights(step)["0.weight"])
    assert trajectory.metadata["imported"] == [f"step{s}/model.safetensors" for s in STEPS]


def test_a_repository_in_the_cache_is_imported_as_it_lies(tmp_path: Path) -> None:
    """Without the hub's library, and without main, whose step nobody knows."""
    repository = lay_out(tmp_path)
    assert main(["import", str(repository), "--out", str(tmp_path / "run"), "--quiet"]) == 0
    expect_all_steps(tmp_path / "run")


def test_a_pattern_chooses_among_revisions(tmp_path: Path) -> None:
    repository = lay_out(tmp_path)
    pattern = r"step(\d{2,})/model.*"
    assert import_checkpoints(repository, tmp_path / "run", pattern=pattern).steps == STEPS[1:]
    with pytest.raises(EmptyTrajectoryError, match="none"):
        import_checkpoints(repository, tmp_path / "none", pattern="main/.*")


@pytest.mark.parametrize("commit", ["../../../elsewhere", "", "g" * 40, "0" * 40])
def test_a_reference_to_what_is_no_commit_here_is_not_followed(tmp_path: Path, commit: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "model.safetensors").write_bytes(save(weights(7)))
    repository = lay_out(tmp_path / "a")
    (repository / "refs" / "step7").write_text(commit, encoding="utf-8")
    assert import_checkpoints(repository, tmp_path / "run").steps == STEPS


def test_several_weights_in_one_revision_are_refused(tmp_path: Path) -> None:
    repository = lay_out(tmp_path)
    second = repository / "snapshots" / commit_of("step64") / "ema.safetensors"
    second.write_bytes(save(weights(64)))
    with pytest.raises(InputError, match=r"one file of weights in step64, found ema.*, model"):
        import_checkpoints(repository, tmp_path / "run")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_name_is_looked_up_in_the_cache_where_the_hub_is_not_asked(
    cache: Path, tmp_path: Path
) -> None:
    lay_out(cache)
    assert main(["import", f"hub:{NAME}", "--out", str(tmp_path / "run"), "--quiet"]) == 0
    expect_all_steps(tmp_path / "run")
    with pytest.raises(TrajectoryError, match="HF_HUB_OFFLINE"):
        fetch_revisions("nobody/nothing")
    with pytest.raises(InputError, match="owner/name"):
        fetch_revisions("far/too/deep")


class Hub(BaseHTTPRequestHandler):
    """The few answers of a hub that listing and downloading need."""

    files = revisions()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        api = f"/api/models/{NAME}"
        if path == f"{api}/refs":
            named = [
                {"name": n, "ref": f"refs/heads/{n}", "targetCommit": commit_of(n)}
                for n in self.files
            ]
            self._answer(json.dumps({"branches": named, "tags": [], "converts": []}).encode())
        elif (revision := path.removeprefix(f"{api}/tree/")) in self.files:
            held = self.files[revision]
            listed = [
                {"type": "file", "path": n, "size": len(d), "oid": commit_of(n)}
                for n, d in held.items()
            ]
            self._answer(json.dumps(listed).encode())
        else:
            self._answer_file(path.removeprefix(f"/{NAME}/resolve/"))

    do_HEAD = do_GET

    def _answer_file(self, place: str) -> None:
        revision, _, name = place.partition("/")
        by_commit = {commit_of(r): r for r in self.files}
        revision = by_commit.get(revision, revision)
        if name not in self.files.get(revision, {}):
            self.send_error(404)
            return
        data = self.files[revision][name]
        etag = f'"{hashlib.sha256(data).hexdigest()}"'
        self._answer(data, {"ETag": etag, "X-Repo-Commit": commit_of(revision)})

    def _answer(self, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(200)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *unused: object) -> None:
        """Quiet."""


BOTH = """
import sys
from surfing.cli import main
assert main(["import", "hub:" + sys.argv[1], "--out", "run"]) == 0
assert main(["import", "hub:nobody/nothing", "--out", "none"]) == 2
"""


@pytest.fixture
def endpoint() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_each_revision_is_downloaded_by_the_hubs_library(endpoint: str, tmp_path: Path) -> None:
    """The command in a process of its own, against a server on this machine."""
    pytest.importorskip("huggingface_hub")
    home = tmp_path / "home"
    environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    environment.pop("HF_HUB_OFFLINE", None)

    done = subprocess.run(
        [sys.executable, "-c", BOTH, NAME],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    expect_all_steps(tmp_path / "run")
    fetched = {p.name for p in home.rglob("snapshots/*/*")}
    assert fetched == {"model.safetensors"}  # no optimiser, no card
    assert "nobody/nothing: the download failed" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "none").exists()
