"""The fast path on the CPU: compiled kernels, and the products and cells that call them."""
