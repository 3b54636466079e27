"""Many targets in shards: in this process or on a cluster, each shard written whole or not at all.

solve.py      what a shard asks for: measurements in, a solution out
local.py      in this process, one shard after the other
ray.py        on the workers of a Ray cluster (extra ``ray``)
packing.py    tensors that all workers of a node share
shards.py     the folder of a run: its manifest, its shards, what is done
parquet.py    columns of parquet files as measurements, and solutions as parquet
"""

from surfing.execution.local import Local
from surfing.execution.ray import Ray
from surfing.execution.shards import Shards
from surfing.execution.solve import Executor, Measurements, Solve, as_executor, solve_all

__all__ = [
    "Executor",
    "Local",
    "Measurements",
    "Ray",
    "Shards",
    "Solve",
    "as_executor",
    "solve_all",
]
