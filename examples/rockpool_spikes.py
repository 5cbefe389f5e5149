"""Answers of a trained RC-LSTM drive Rockpool as events in seconds, and come back."""

from bridges import target
from bridges.stream import SpikeStream
from bridges.targets import rockpool
from encoders import embedded_digits, encode_latency
from rc_snn import load

net = load("rc-lstm-340-slow")
times = encode_latency(embedded_digits().test.images[:50], **net.encoder)
decision = net.decide(times)
sent = SpikeStream.from_decision(decision, net.n_steps, n_classes=10, dt_s=1e-3)

events = rockpool.ts_events(sent)  # one TSEvent per sample, for your own network
modules = target.load(rockpool.TARGET, "rockpool.nn.modules")
lif = modules.TimedModuleWrapper(modules.LIF(10, dt=sent.dt_s, spiking_input=True, threshold=0.5))
spikes, _, _ = lif(events[0], num_timesteps=sent.n_steps)
back = rockpool.round_trip(sent)
print(f"{sent.n_spikes} spikes sent, {back.n_spikes} back; to the first answer, at", end=" ")
print(f"{1e3 * events[0].times[0]:.1f} ms, a LIF layer responds with {len(spikes.times)} spikes")
assert sent.same_spikes(back)
