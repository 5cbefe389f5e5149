"""Networks, not only their spikes, inside other libraries and simulators."""
