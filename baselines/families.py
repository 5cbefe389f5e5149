"""The baselines' families: networks that spike once in continuous time, and LIF networks."""

from dataclasses import asdict
from typing import Any

from jaxtyping import Int
from torch import Tensor

from baselines.continuous import ContinuousNetwork
from baselines.continuous_training import Timed, train_continuous
from baselines.lif import TTFSLIF
from baselines.lif_training import train_ttfs
from baselines.relu_training import MappedConfig, train_mapped
from rc_snn.families import RankCoded, Split, Trained, finished
from rc_snn.loop import TrainResult
from rc_snn.regimes import account
from rc_snn.spikes import Decision, SpikeTimes

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


class TTFS(RankCoded):
    """LIF networks whose first output spike answers; fed as step models are, and as costly."""

    name = "ttfs"

    def claims(self, model: Any) -> bool:
        """Return whether a model is one."""
        return isinstance(model, TTFSLIF)

    def train(self, model: Any, *args: Any, fresh: Any = None, **options: Any) -> TrainResult:
        """Train by surrogate gradients: `baselines.lif_training.train_ttfs`."""
        if fresh is not None:
            raise ValueError("Networks of the family ttfs are trained without augmentation.")
        return finished(model, train_ttfs(model, *args, **options))

    def decide(self, network: Any, inputs: Any) -> Decision:
        """Return the decisions by the first output spikes."""
        model: TTFSLIF = network.model
        return model.decide(network.sequences(inputs))


class Continuous:
    """Neurons that spike at most once, in continuous time: the first output spike answers."""

    name = "continuous"

    def claims(self, model: Any) -> bool:
        """Return whether a model is one."""
        return isinstance(model, ContinuousNetwork)

    def data(self, run: Trained, split: Split, like: Any = None) -> Timed:
        """Return the spike times of images, in float32."""
        return Timed(run.encode(split.images).float(), split.labels)

    def train(self, model: Any, *args: Any, **options: Any) -> TrainResult:
        """Train by first spikes, or map a ReLU network first, whichever the config is of.

        See `baselines.continuous_training.train_continuous` and
        `baselines.relu_training.train_mapped`.
        """
        config = args[2] if len(args) > 2 else options["config"]
        by = train_mapped if isinstance(config, MappedConfig) else train_continuous
        return finished(model, by(model, *args, **options))

    def decide(self, network: Any, inputs: Any) -> Decision:
        """Return the first output spikes."""
        model: ContinuousNetwork = network.model
        return model.decide(inputs)

    def account(
        self, network: Any, labels: Int[Tensor, " batch"], times: SpikeTimes
    ) -> dict[str, Any]:
        """Account for the first spikes, and for the same network read out at the frame's end.

        A time that never comes is `inf`.
        """
        model: ContinuousNetwork = network.model
        decision = network.decide(times)
        operations = model.synaptic_operations(times)
        metrics = asdict(account(decision, labels, times, operations=operations))
        forced = model.decide(times, fallback=True)
        metrics["at_frame_end"] = asdict(account(forced, labels, times))
        when = decision.time.double()
        metrics["times"] = {
            f"{100 * q:g} %": float(when.quantile(q, interpolation="nearest")) for q in QUANTILES
        }
        return metrics


TTFS_FAMILY, CONTINUOUS = TTFS(), Continuous()
