"""Answers of a trained RC-LSTM drive sinabs, in its own environment, and come back."""

from bridges.stream import SpikeStream
from bridges.targets import sinabs
from encoders import embedded_digits, encode_latency
from rc_snn import load

net = load("rc-lstm-340-slow")
times = encode_latency(embedded_digits().test.images[:50], **net.encoder)
decision = net.decide(times)
sent = SpikeStream.from_decision(decision, net.n_steps, n_classes=10, dt_s=1e-3)

raster = sinabs.raster(sent)  # [batch, time, class]; torch.save it, and load it beside sinabs
try:
    back = sinabs.round_trip(sent)  # what an IAF layer puts out there
except ImportError as error:
    print(error)  # which variable to set
else:
    print(f"{int(raster.sum())} spikes sent, {back.n_spikes} back")
    assert sent.same_spikes(back)
