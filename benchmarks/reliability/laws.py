"""What a broken law raises, with what was seen."""

from __future__ import annotations

__all__ = ["Violation", "expect"]


class Violation(AssertionError):
    """A law of this package did not hold."""


def expect(holds: bool, law: str, *seen: object) -> None:
    """Raise where a law does not hold.

    Raises:
        Violation: naming the law and what was seen.
    """
    if not holds:
        raise Violation(": ".join([law, *(f"{item!s:.600}" for item in seen)]))
