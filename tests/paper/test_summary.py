"""The summary counts what the records say, whichever way they fall."""

from __future__ import annotations

from typing import Any

from paper.budget import LEVEL
from paper.step_sizes import ADAM_METHODS, labels
from paper.summary import summary

DIRECT, RIDE = labels(ADAM_METHODS).values()


def said(name: str, parts: list[dict[str, Any]], **config: Any) -> str:
    record = {"config": config, "results": {str(i): part for i, part in enumerate(parts)}}
    return "\n".join(summary({name: record}))


def row(cell: str, method: str, found: int, cost: float = 100.0) -> dict[str, Any]:
    return {"cell": cell, "method": method, "found": [found, 300], "cost": cost}


def table1(direct: int, ride: int) -> str:
    parts = [row("vae-k5", m, n) for m, n in zip(ADAM_METHODS, (direct, ride))]
    parts += [row("vae-k5", "direct-lm", 300), row("vae-k5", "direct-lm-annealed", 298)]
    parts += [row("vae-k5", "lm-surfing", 297, cost=20.0)]
    return said("table1", parts, cells=["vae-k5"], targets=300, adam={})


def test_a_ride_that_loses_is_said_to_lose() -> None:
    told = table1(direct=200, ride=100)
    assert (
        "Adam surfing, 40 x 50 + 2000 is above direct Adam, 2000 steps on 0 of the 1 models (0 with"
        in told
    )
    assert "below on 1 (1), level on 0" in told


def test_a_ride_that_wins_by_less_than_the_intervals_is_not_called_clear() -> None:
    told = table1(direct=200, ride=201)
    assert f"above {DIRECT} on 1 of the 1 models (0 with disjoint" in told


def test_the_price_of_a_ride_is_a_ratio_of_its_record() -> None:
    told = table1(direct=1, ride=2)
    assert "finds at least 99% on 1 of the 1" in told
    assert "costs 0.20 to 0.20 of what Adam surfing does" in told


def test_what_beats_lm_surfing_is_named() -> None:
    told = table1(direct=1, ride=2)
    assert "LM surfing is below direct LM, prior annealed on 1 of the 1 (VAE, k=5)." in told
    assert f"LM surfing is below {RIDE} on 0 of the 1." in told


def test_measurements_where_a_ride_loses_are_listed() -> None:
    eight, none = "1" * 8, "0" * 8
    parts = [
        {"cell": "wgan-k5", "name": name, "m": m, "by_target": hits, "found": [0, 8]}
        for name, m, hits in (
            ("adam", 10, eight), ("surf-adam", 10, none),
            ("adam", 20, none), ("surf-adam", 20, eight),
        )
    ]  # fmt: skip
    told = said("fig3", parts, measurements=[10, 20], methods=["adam", "surf-adam"], targets=8)
    assert "Adam surfing, 10 x 50 + 500 against direct Adam, 1000 steps" in told
    assert "WGAN, k=5 ahead at 20, behind at 10" in told


def budget(lm: list[str], surf: list[str]) -> str:
    parts = [
        {"cell": "wgan-k5", "name": name, "by_target": hits,
         "found": [[h.count("1"), len(h)] for h in hits]}
        for name, hits in (("lm-restarts", lm), ("ride-restarts", surf))
    ]  # fmt: skip
    budgets = [250, 500, 1000][: len(lm)]
    return said("budget", parts, budgets=budgets, operator="all", targets=8)


def test_restarts_that_win_are_said_to_win_where_the_paired_test_says_so() -> None:
    eight, none = "1" * 8, "0" * 8  # 8 of 8 disputed: p = 2^-7, below the level
    assert LEVEL > 2**-7
    told = budget([none, none, eight], [none, none, none])
    assert "ahead at some budget on 1 of 1 models (WGAN, k=5), behind at some on 0" in told
    told = budget([none, none, none], [none, none, eight])
    assert "ahead at some budget on 0 of 1 models, behind at some on 1 (WGAN, k=5)" in told


def test_a_difference_that_chance_would_make_is_not_told_as_one() -> None:
    few = "1" * 4 + "0" * 4  # p = 2^-3
    told = budget([few, few, few], ["0" * 8] * 3)
    assert "not told apart at any on 1" in told
