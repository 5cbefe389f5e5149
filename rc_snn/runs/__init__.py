"""What a run is made of: its chunks of steps, the look that says who leaves, a full batch, a stream."""
