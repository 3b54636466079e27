"""Intervals for a rate: how much a count of successes says."""

from __future__ import annotations

from statistics import NormalDist

from surfing.errors import InputError

__all__ = ["wilson"]


def wilson(successes: int, trials: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a binomial rate.

        (p + q^2/2n ± q sqrt(p(1-p)/n + q^2/4n^2)) / (1 + q^2/n),   p = successes / n,

    q the normal quantile. Unlike p ± q sd it stays in [0, 1] and has a width at p = 0 and 1.

    Args:
        successes: in [0, trials].
        trials: n; nothing is known at zero, and the interval is [0, 1].
        confidence: in (0, 1).

    Raises:
        InputError: out of range.

    Source: Wilson (1927), "Probable inference, the law of succession, and statistical inference".

    >>> [round(end, 3) for end in wilson(73, 100)]
    [0.636, 0.807]
    """
    if not (0 <= successes <= trials and 0 < confidence < 1):
        raise InputError(
            "wilson: expected 0 <= successes <= trials and 0 < confidence < 1, got "
            f"{successes}, {trials}, {confidence}."
        )
    if trials == 0:
        return 0.0, 1.0
    q = NormalDist().inv_cdf((1 + confidence) / 2)
    p, inverse = successes / trials, 1 / trials
    centre = p + q * q * inverse / 2
    radius = q * (p * (1 - p) * inverse + q * q * inverse * inverse / 4) ** 0.5
    scale = 1 + q * q * inverse
    # At the ends rounding leaves a few 1e-17 of what is exactly 0 or 1.
    low = 0.0 if successes == 0 else (centre - radius) / scale
    return low, 1.0 if successes == trials else (centre + radius) / scale
