"""Side-by-side measurements: one command each, a JSON record, and from it the table in the docs.

``python -m benchmarks.recovery RUN``   recovery against scipy, torch, deepinv and CMA-ES
``python -m benchmarks.jacobian``       the structured Jacobian engine against generator forwards
``python -m benchmarks.scaling``        time and memory in the number of targets, in k and in m
``python -m benchmarks.tuning RUN``     the settings of every method, on targets of their own
``python -m benchmarks.table``          docs/benchmarks.md, rendered from the records
"""
