"""What a user would try first: LIF networks of snnTorch and norse, with surrogate gradients."""

import math
from dataclasses import asdict, dataclass
from typing import Literal, TypeAlias

import snntorch
import torch
import torch.nn.functional as F
from norse.torch.functional.leaky_integrator import LIParameters, LIState, li_feed_forward_step
from norse.torch.functional.lif import LIFFeedForwardState, LIFParameters, lif_feed_forward_step
from torch import Tensor, nn

from rc_snn.cells import Advance, State, StepCost, init_uniform
from rc_snn.events import event_linear
from rc_snn.fused import fusable, step_input
from rc_snn.loop import Loop, Select, rank
from rc_snn.models import fresh_generator
from rc_snn.optimizer import Adam
from rc_snn.sequences import SpikeSequences, StepEvents
from rc_snn.spikes import Decision

Library: TypeAlias = Literal["snntorch", "norse"]


class SnnTorchNeurons(nn.Module):
    def __init__(self, decay_mem: float, spiking: bool) -> None:
        super().__init__()
        self.neurons = snntorch.Leaky(
            beta=decay_mem, reset_mechanism="subtract" if spiking else "none"
        )

    def forward(self, current: Tensor, state: State | None) -> tuple[Tensor, Tensor, State]:
        mem = torch.zeros_like(current) if state is None else state[0]
        z, mem = self.neurons(current, mem)
        self.neurons.mem = mem.new_zeros(0)  # else the layer keeps this step's graph
        return z, mem, (mem,)


class NorseNeurons(nn.Module):
    def __init__(self, dt_s: float, spiking: bool) -> None:
        super().__init__()
        self.dt_s, self.spiking = dt_s, spiking

    def forward(self, current: Tensor, state: State | None) -> tuple[Tensor, Tensor, State]:
        v, i = (torch.zeros_like(current),) * 2 if state is None else state
        p, li = LIFParameters(), LIParameters()
        if not self.spiking:
            v, new = li_feed_forward_step(current, LIState(v, i), li, self.dt_s)
            return v, v, tuple(new)
        before, _ = li_feed_forward_step(current, LIState(v, i), li, self.dt_s)
        z, lif = lif_feed_forward_step(current, LIFFeedForwardState(v, i), p, self.dt_s)
        return z, before, tuple(lif)


class Synapses(nn.Module):
    def __init__(self, n_in: int, n_out: int, scale: float, generator: torch.Generator) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_in, n_out).t())
        self.bias = nn.Parameter(torch.empty(n_out))
        init_uniform(self, scale / math.sqrt(n_in), generator)

    def forward(self, x: Tensor | StepEvents) -> Tensor:
        if isinstance(x, StepEvents):
            return event_linear(x, self.weight, self.bias)
        return F.linear(x, self.weight, self.bias)


class LIFNetwork(nn.Module):
    spiking = True

    def __init__(
        self,
        library: Library = "snntorch",
        n_inputs: int = 784,
        n_hidden: int = 340,
        n_classes: int = 10,
        *,
        decay_mem: float = 0.9,
        dt_s: float = 1e-3,
        scale: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        generator = fresh_generator(generator)
        self.n_inputs, self.n_hidden, self.n_classes = n_inputs, n_hidden, n_classes
        self.input = Synapses(n_inputs, n_hidden, scale, generator)
        self.output = Synapses(n_hidden, n_classes, scale, generator)

        def neurons(spiking: bool) -> nn.Module:
            if library == "snntorch":
                return SnnTorchNeurons(decay_mem, spiking)
            return NorseNeurons(dt_s, spiking)

        self.hidden_neurons, self.output_neurons = neurons(True), neurons(self.spiking)
        self.n_state = 1 if library == "snntorch" else 2

    def advance(self, x, state):
        k = self.n_state
        hidden, output = (None, None) if state is None else (state[:k], state[k:])
        z, _, hidden = self.hidden_neurons(self.input(x), hidden)
        z, v, output = self.output_neurons(self.output(z), output)
        return z, v, (*hidden, *output)

    def cost(self) -> StepCost:
        return StepCost(
            input=self.n_hidden * self.n_inputs,
            inner=self.n_hidden * self.n_classes,
            recurrent=0,
            read_out=0,
            fan_out=torch.full((self.n_inputs,), float(self.n_hidden)),
        )


class RCLIF(LIFNetwork):
    spiking = False

    def __init__(self, *args, gain: float = 1.0, **kw):
        super().__init__(*args, **kw)
        self.gain = gain

    def step(self, x, state):
        _, v, state = self.advance(x, state)
        return v, state

    def fused(self) -> Advance | None:
        if not fusable(self.input.weight):
            return None
        return lambda step, inputs, state: self.step(step_input(inputs, step), state)

    def read_out(self, features: Tensor) -> Tensor:
        return features * self.gain


def first_spike_time(z):
    silent = torch.ones_like(z[0])
    time = torch.zeros_like(z[0])
    for now in z:
        silent = silent * (1.0 - now)
        time = time + silent
    return time


class TTFSLIF(LIFNetwork):
    def run(self, inputs: SpikeSequences):
        state, steps = None, []
        for t in range(inputs.n_steps):
            z, v, state = self.advance(step_input(inputs, t), state)
            steps.append((z, v))
        zs, vs = zip(*steps, strict=True)
        return torch.stack(zs), torch.stack(vs)

    @torch.no_grad()
    def decide(self, inputs, batch_size=250) -> Decision:
        parts = torch.arange(len(inputs)).split(batch_size)
        return Decision.cat([decide_first(*self.run(inputs.rows(p))) for p in parts])


def decide_first(z, v):
    T = len(z)
    t = first_spike_time(z).amin(1)
    fired = t < T
    step = t.long().clamp(max=T - 1)
    scores = v[step, torch.arange(len(step))]
    return Decision(scores.argmax(1), (step + 1).double() / T, step, fired, scores)


@dataclass(frozen=True)
class TTFSConfig:
    epochs: int = 20
    batch_size: int = 128
    lr: float = 3e-3
    weight_decay: float = 0.0
    tau: float = 1.0
    schedule: str = "one_cycle"
    seed: int = 0
    select: Select = "any"
    loss: str = "exact"


class _Training(Loop):
    def __init__(self, model, data, validation, config, run_dir, tensorboard=False):
        super().__init__(
            model,
            data,
            run_dir,
            epochs=config.epochs,
            batch_size=config.batch_size,
            seed=config.seed,
        )
        self.validation, self.config = validation, config
        self.optimizer = Adam(model, config.lr, config.weight_decay)
        total = config.epochs * math.ceil(len(data) / config.batch_size)
        self.scheduler = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, config.lr, total_steps=total, pct_start=0.2, cycle_momentum=False
        )

    def draw(self):
        return self.data

    def update(self, batch, epoch):
        z, v = self.model.run(batch.inputs)
        if self.config.loss == "exact":
            t = first_spike_time(z)
            loss = F.cross_entropy(-t / self.config.tau, batch.labels)
        else:
            from snntorch.functional import ce_temporal_loss

            loss = ce_temporal_loss(inverse=self.config.loss)(z, batch.labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.scheduler.step()
        d = decide_first(z.detach(), v.detach())
        return {
            "loss": float(loss.detach()) * len(batch),
            "accuracy": float((d.label == batch.labels).sum()),
            "mean_step": float(d.step.sum()),
            "fired": float(d.fired.sum()),
        }

    def validate(self, epoch):
        d = self.model.decide(self.validation.inputs)
        row = {
            "accuracy": float((d.label == self.validation.labels).double().mean()),
            "mean_step": float(d.step.double().mean()),
            "fired": float(d.fired.double().mean()),
        }
        return row, rank(self.config.select, row["mean_step"] / 10, row["accuracy"])

    def identity(self):
        return asdict(self.config)

    def may_grow(self):
        return False
