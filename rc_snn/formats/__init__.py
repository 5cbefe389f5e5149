"""What files of networks say: makers that may be called, older formats, half precision."""
