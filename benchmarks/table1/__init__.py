"""Table 1 of the paper: accuracy and decision time on temporal MNIST."""
