"""What a grid of runs on many hosts, and a training over many devices, would take and lose.

`python -m benchmarks.scale` computes docs/SCALE.md's tables: figures that records hold, assumptions
that are options, and a simulation. Nothing is trained or measured.
"""
