"""Many targets in shards: in this process or on a cluster, each shard written whole or not at all.

executor.py   the words: measurements in, a solution out, and who does it
choice.py     an executor of what the caller gave
solve.py      the driver: all targets, shard by shard
targets.py    measurements, and what goes with each target
local.py      in this process, one shard after the other
ray.py        on the workers of a Ray cluster (extra ``ray``)
pool.py       those workers, and the shards that each of them has
packing.py    tensors that all workers of a node share
shards.py     the folder of a run: its shards, what is done, the whole
manifest.py   what the folder says of its run and of its measurements
columns.py    columns of Arrow tables as measurements that are read as they are needed
parquet.py    those of parquet files, and solutions as parquet files
dataset.py    those of a Ray Dataset
"""

from surfing.execution.choice import as_executor
from surfing.execution.executor import Executor, Measurements, Solve
from surfing.execution.local import Local
from surfing.execution.ray import Ray
from surfing.execution.shards import Shards
from surfing.execution.solve import solve_all

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
