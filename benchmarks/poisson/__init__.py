"""Several spikes per unit: rank coding on Poisson spike trains of MNIST."""
