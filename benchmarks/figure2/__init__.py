"""Figure 2 of the paper: the two-sequence problem."""
