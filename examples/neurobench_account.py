"""NeuroBench measures a trained RC-LSTM until its answers, and our account explains its figures."""

import torch

from bridges.neurobench.account import REASONS, Operations, books
from bridges.neurobench.metrics import RankCoded, latency_frames, measure
from encoders import embedded_digits
from encoders.temporal_mnist import take
from rc_snn import SpikeSequences, load

net = load("rc-lstm-340-fast")
digits = embedded_digits().test
data = latency_frames(take(digits, torch.arange(0, 1000, 20)), net.n_steps, **net.encoder)
network = RankCoded(net)  # give neurobench_model(network) to a Benchmark of your own
early = measure(network, data)
whole = measure(RankCoded(net, early_exit=False), data)
print(f"dense operations: {early.dense:,.0f} until the answer, {whole.dense:,.0f} to the end")

account = books(network, net.decide(SpikeSequences(data.steps, net.n_steps)).step, data.steps)
print(
    f"accumulates: {account.ours.acs:,.0f} by our count, {early.effective_acs:,.0f} by NeuroBench"
)
for reason, amount in account.differences.items():
    print(f"{amount.acs:+,.0f}: {reason}. {REASONS[reason]}")
seen = Operations(early.effective_acs, early.effective_macs, early.dense)
assert all(abs(rest) < 1e-3 for rest in seen.minus(account.expected))  # nothing is left over
