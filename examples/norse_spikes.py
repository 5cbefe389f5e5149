"""Answers of a trained RC-LSTM drive norse: its decoder reads their times, a layer integrates."""

import torch

from bridges import target
from bridges.stream import SpikeStream
from bridges.targets import norse
from encoders import embedded_digits, encode_latency
from rc_snn import load

net = load("rc-lstm-340-slow")
times = encode_latency(embedded_digits().test.images[:50], **net.encoder)
decision = net.decide(times)
sent = SpikeStream.from_decision(decision, net.n_steps, n_classes=10, dt_s=1e-3)

nt = target.load(norse.TARGET)  # norse.torch, imported without its warnings
z = norse.spikes(sent)  # [time, batch, class], for norse's layers
seconds = nt.SpikesToTimesDecoder(dt=sent.dt_s)(z)[0].amin(dim=1)
potential, _ = nt.LI(dt=sent.dt_s)(z)  # for your own network
fired = torch.isfinite(seconds)
print(f"{int(fired.sum())} of 50 answers, on average after {1e3 * seconds[fired].mean():.2f} ms;")
print(f"an integrator of norse rises to {potential.amax():.3f}")
assert torch.equal(fired, decision.fired)
assert sent.same_spikes(norse.round_trip(sent))
