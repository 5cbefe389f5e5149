"""Benchmarks: every number in tables, figures and README comes from `python -m benchmarks.…`."""
