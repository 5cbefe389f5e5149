"""Exit rules: scores at every step, curves over thresholds, thresholds for each step."""
