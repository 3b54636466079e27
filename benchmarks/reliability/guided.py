"""One parser under atheris: ``python -m benchmarks.reliability.guided PARSER RUNS SEED``."""

from __future__ import annotations

import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["surfing.trajectory", "surfing.cli.inputs"]):
    from benchmarks.reliability.fuzzing import PARSERS, accepts


def main(name: str, runs: str, seed: str) -> None:
    """Fuzz until so many runs are done; atheris ends the process."""
    parser = PARSERS[name]
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        corpus, scratch = Path(folder) / "corpus", Path(folder) / "scratch"
        corpus.mkdir()
        scratch.mkdir()
        for number, data in enumerate(parser.seeds):
            (corpus / str(number)).write_bytes(data)

        def one(data: bytes) -> None:
            accepts(parser, data, scratch)

        options = [f"-runs={runs}", f"-seed={int(seed) + 1}", "-max_len=4096", "-rss_limit_mb=8192"]
        atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={folder}/", str(corpus)], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
