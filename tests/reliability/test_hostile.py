"""Nothing that is read runs code, exhausts memory, or ends in anything but one clear error."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks.reliability import fuzzing, hostile

import surfing

SOURCES = sorted(Path(surfing.__file__).parent.rglob("*.py"))
FORBIDDEN = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}

OWN_WORKERS = {"packing.py"}
"""Sends the caller's own objects to workers that it started, in memory; reads no file."""


def names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module.split(".")[0]


def calls(tree: ast.AST) -> Iterator[tuple[str, dict[str, object]]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            options = {k.arg: getattr(k.value, "value", ...) for k in node.keywords if k.arg}
            yield ast.unparse(node.func), options


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_no_source_unpickles_or_evaluates(source: Path) -> None:
    tree = ast.parse(source.read_text(encoding="utf-8"))
    assert source.name in OWN_WORKERS or not FORBIDDEN & set(names(tree))
    for function, options in calls(tree):
        assert function not in ("eval", "exec", "compile", "__import__")
        if function in ("torch.load", "trainer.fit"):
            assert options.get("weights_only") is True
        if function in ("np.load", "numpy.load"):
            assert options.get("allow_pickle") is False


@pytest.mark.skipif(sys.platform != "linux", reason="the limits are Linux's")
@pytest.mark.parametrize("attack", hostile.HOSTILE.values(), ids=hostile.HOSTILE)
def test_what_would_exhaust_the_machine_is_one_clear_error(attack: hostile.Attack) -> None:
    hostile.withstand(attack)


@pytest.mark.parametrize("parser", fuzzing.PARSERS.values(), ids=fuzzing.PARSERS)
def test_only_our_errors_come_out_of_a_parser(parser: fuzzing.Parser) -> None:
    counts = fuzzing.fuzz(parser, built=200, changed=200, seed=0)
    assert counts["built"] >= 100
    assert counts["changed"] == 200
    assert counts["accepted"] < counts["built"] + counts["changed"]


@pytest.mark.slow
@pytest.mark.parametrize("parser", fuzzing.PARSERS.values(), ids=fuzzing.PARSERS)
def test_only_our_errors_come_out_of_a_parser_often(parser: fuzzing.Parser) -> None:
    fuzzing.fuzz(parser, built=3000, changed=3000, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", fuzzing.PARSERS)
def test_only_our_errors_come_out_where_coverage_leads(name: str) -> None:
    pytest.importorskip("atheris")
    fuzzing.coverage_guided(name, runs=3000, seed=1)


def test_the_seeds_of_the_fuzzing_are_valid(tmp_path: Path) -> None:
    for name, parser in fuzzing.PARSERS.items():
        if name == "manifest":  # what it describes fits no checkpoint: only its text is valid
            continue
        for seed in parser.seeds:
            assert fuzzing.accepts(parser, seed, tmp_path), (name, seed)
