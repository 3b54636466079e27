"""A path for a generator of which there is one checkpoint: simpler and simpler copies of it."""

from surfing.distillation.curriculum import Curriculum, Linearisation
from surfing.distillation.distil import distil

__all__ = ["Curriculum", "Linearisation", "distil"]
