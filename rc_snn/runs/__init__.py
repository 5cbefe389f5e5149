"""What a run is made of: chunks of steps, the look that says who leaves, full batches, a stream."""
