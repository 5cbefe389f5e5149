"""A ReLU network of torch becomes a spiking network of the same answers, in NEST if it is there."""

import torch
from torch import nn

from baselines import from_relu, relu_inputs
from bridges.networks import nest
from encoders import embedded_digits, encode_latency

DEADLINE, K = 0.2, 4  # answers come after the first fifth of the frame, and a third of that

digits = embedded_digits()
times, test = (
    encode_latency(part.images, polarity="dark_first", zero_pixels="silent")
    for part in (digits.train, digits.test)
)
x, labels = relu_inputs(times, DEADLINE).float(), digits.train.labels

torch.manual_seed(0)
net = nn.Sequential(nn.Linear(784, 60), nn.ReLU(), nn.Linear(60, 10))
adam = torch.optim.Adam(net.parameters(), 3e-3)
for rows in torch.randperm(len(x)).repeat(3).split(64):
    adam.zero_grad()
    nn.functional.cross_entropy(net(x[rows]), labels[rows]).backward()
    adam.step()

spiking = from_relu(net, DEADLINE, K)
decision = spiking.decide(test)
same = decision.label == net(relu_inputs(test, DEADLINE).float()).argmax(dim=1)
right = decision.label == digits.test.labels
print(f"{right.double().mean():.1%} right after {decision.time.mean():.3f} frames; as the ReLU")
print(f"network does for {same.double().mean():.1%} of {len(test)} images")
assert same.double().mean() > 0.995

try:
    ran = nest.spike_times(spiking, test[:3], dt=0.01, frames=0.5)[-1]
    print("NEST:", ran.argmin(dim=1).tolist(), "ours:", decision.label[:3].tolist())
except ImportError as error:
    print(error)
