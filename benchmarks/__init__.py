"""Benchmarks: every number in tables, figures and README comes from `python -m benchmarks.…`."""

from rc_snn.commands import refuse

refuse(__name__)
