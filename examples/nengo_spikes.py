"""Answers of a trained RC-LSTM drive a synapse in Nengo, whose trace says the same class."""

import warnings

from bridges.stream import SpikeStream
from bridges.targets import nengo as to_nengo
from encoders import embedded_digits, encode_latency
from rc_snn import load

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # Nengo 4.1 uses numpy's old names
    import nengo

net = load("rc-lstm-340-fast")
digits = embedded_digits().test
times = encode_latency(digits.images[:50], **net.encoder)
decision = net.decide(times)
sent = SpikeStream.from_decision(
    decision,
    net.n_steps,
    n_classes=10,
    dt_s=1e-3,
    forced="spike",  # every answer, late ones too
)

with nengo.Network() as network:
    spikes = to_nengo.node(sent)  # a Node, for your own network
    raw, trace = nengo.Probe(spikes), nengo.Probe(spikes, synapse=0.005)  # s
with nengo.Simulator(network, dt=sent.dt_s, progress_bar=False) as simulator:
    simulator.run_steps(sent.n_steps, progress_bar=False)
back = to_nengo.from_probe(simulator.data[raw], like=sent)
answers = simulator.data[trace][-1].reshape(len(sent), 10).argmax(axis=1)
print(f"{spikes.size_out} dimensions; {sent.n_spikes} spikes sent, {back.n_spikes} back")
assert sent.same_spikes(back)
assert answers.tolist() == decision.label.tolist()
