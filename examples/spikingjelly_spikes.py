"""Input spikes of digits, latency coded, drive SpikingJelly, and come back step for step."""

import torch
from spikingjelly.activation_based import functional, layer, neuron

from bridges.stream import SpikeStream
from bridges.targets import spikingjelly
from encoders import embedded_digits, encode_latency

times = encode_latency(embedded_digits().test.images[:20], zero_pixels="silent")
sent = SpikeStream.from_times(times, steps_per_frame=20, dt_s=1e-3, off_grid="floor")

x_seq = spikingjelly.x_seq(sent)  # [time, batch, pixel], for layers with step_mode="m"
torch.manual_seed(0)
net = torch.nn.Sequential(layer.Linear(784, 10, step_mode="m"), neuron.IFNode(step_mode="m"))
with torch.no_grad():
    net[0].weight.mul_(5.0)
    hidden = spikingjelly.from_s_seq(net(x_seq), sent.dt_s)  # a stream again
functional.reset_net(net)  # before the next batch
back = spikingjelly.round_trip(sent)  # what a layer that repeats its input puts out
print(f"{sent.n_spikes} spikes sent, {back.n_spikes} back; 10 neurons answer with", end=" ")
print(f"{hidden.n_spikes}, the first after {1e3 * hidden.times().min():.0f} ms")
assert sent.same_spikes(back)
