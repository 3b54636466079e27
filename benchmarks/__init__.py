"""Side-by-side measurements: one command each, a JSON record.

``python -m benchmarks.recovery RUN``   recovery against scipy, torch, deepinv and CMA-ES
``python -m benchmarks.jacobian``       the structured Jacobian engine against generator forwards
``python -m benchmarks.memory``         memory and time of `recover` by the number of targets
``python -m benchmarks.tuning RUN``     the settings of every method, on targets of their own
"""
