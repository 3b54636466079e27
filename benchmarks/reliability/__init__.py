"""Faults, hostile input and long runs: what survives, what is seen, what it costs.

``python -m benchmarks.reliability`` runs every part in its long form and writes
``docs/records/reliability.json`` and from it ``docs/reliability.md``. The tests in
``tests/reliability`` call the same functions with smaller numbers.
"""
