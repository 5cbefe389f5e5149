"""What early answers, sparsity and exchange cost, measured."""
