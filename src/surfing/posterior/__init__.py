"""How sure: draws from the posterior of z.

whitening.py  the law of z in coordinates where it is standard normal
risks.py      -log posterior, and the equations of a draw
modes.py      local maxima, each with Laplace's estimate of its share
search.py     descents that find them
randomise.py  a draw is the solution of k equations with a random right side, and has a weight
noise.py      counts, and a level that is not told
around.py     the draws around the modes of some targets, and what is told of them
moves.py      where few draws carry the weight: these move on
block.py      all of it for a block of targets
draws.py      what is returned; moments.py and signals.py tell what it says
"""

from surfing.posterior.draws import Draws, DrawsStatus, ModeTable
from surfing.posterior.noise import AbstractNoise, Poisson
from surfing.posterior.sample import sample
from surfing.posterior.signals import SignalStatistics

__all__ = [
    "AbstractNoise",
    "Draws",
    "DrawsStatus",
    "ModeTable",
    "Poisson",
    "SignalStatistics",
    "sample",
]
