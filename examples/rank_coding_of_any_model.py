"""A spiking network of snnTorch answers as soon as it is sure: rank coding, trained in seconds."""

import tempfile
from pathlib import Path

import snntorch as snn
import torch
from torch import nn

from bridges.networks.step_models import SNNTorchModel
from encoders import embedded_digits, encode_latency
from rc_snn import spike_steps
from rc_snn.sequences import Labelled, SpikeSequences
from rc_snn.training import TrainConfig, evaluate, train

N_STEPS, THETA = 10, 0.8

digits = embedded_digits()
times = encode_latency(digits.train.images, zero_pixels="silent")  # bright pixels spike early
order = torch.randperm(len(times), generator=torch.Generator().manual_seed(0))
inputs = SpikeSequences(spike_steps(times, N_STEPS), N_STEPS)
train_set = Labelled(inputs, digits.train.labels).rows(order[:1000])
validation = Labelled(inputs, digits.train.labels).rows(order[1000:1500])

torch.manual_seed(0)
layers = [
    nn.Linear(784, 100),
    snn.Leaky(0.9),
    nn.Linear(100, 10),
    snn.Leaky(0.9, reset_mechanism="none"),  # its potentials are the logits
]
model = SNNTorchModel(layers, n_inputs=784, n_classes=10)
before = evaluate(model, validation, THETA)[1]
config = TrainConfig(epochs=5, batch_size=50, lr=2e-3, theta=THETA)
with tempfile.TemporaryDirectory() as folder:
    train(model, train_set, validation, config, Path(folder))
after = evaluate(model, validation, THETA)[1]
for when, row in (("before", before), ("after", after)):
    print(f"{when:6} {row['accuracy']:.1%} right, at step {row['mean_step']:.1f} of {N_STEPS}")
assert after["accuracy"] > 0.7
