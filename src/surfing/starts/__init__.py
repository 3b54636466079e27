"""Where to begin: draws, scouts, the caller's own latents, learned starts."""

from surfing.starts.learned import LearnedStarts, learn
from surfing.starts.rows import Rows, checked_ids, draw_starts
from surfing.starts.scouting import Scouted, Scouting, derived_seed

__all__ = [
    "LearnedStarts",
    "Rows",
    "Scouted",
    "Scouting",
    "checked_ids",
    "derived_seed",
    "draw_starts",
    "learn",
]
