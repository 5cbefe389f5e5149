"""snnTorch reads the answers of a trained RC-LSTM with its own figures and through a layer."""

import torch
from snntorch.functional import ce_temporal_loss
from snntorch.functional.acc import accuracy_temporal

from bridges.stream import SpikeStream
from bridges.targets import snntorch
from encoders import embedded_digits, encode_latency
from rc_snn import load

net = load("rc-lstm-340-slow")
times = encode_latency(embedded_digits().test.images[:50], **net.encoder)
decision = net.decide(times)
# One step more than the network has, or snnTorch would take an answer at the last for silence.
sent = SpikeStream.from_decision(decision, net.n_steps + 1, n_classes=10, dt_s=1e-3, forced="spike")

spk_rec = snntorch.spk_rec(sent)  # [time, batch, class], for snnTorch's losses and layers
read = accuracy_temporal(spk_rec, decision.label)
loss = ce_temporal_loss()(spk_rec, decision.label)
print(f"snnTorch reads {read:.0%} of our answers as we gave them; later ones would cost more:")
print(f"their temporal cross-entropy is {loss:.3f}")
assert read == 1.0
assert torch.equal(snntorch.spk_rec(snntorch.round_trip(sent)), spk_rec)  # through a layer
