"""One module per target that spikes are carried to."""
