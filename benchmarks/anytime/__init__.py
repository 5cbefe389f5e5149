"""Rank coding with drawn thresholds beside its peers, on every data set of the project."""
