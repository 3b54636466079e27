"""Try several ways within a budget."""

from surfing.portfolio.attempt import ATTEMPTS, DEFAULT, Attempt, Rung
from surfing.portfolio.recover import recover

__all__ = ["ATTEMPTS", "DEFAULT", "Attempt", "Rung", "recover"]
