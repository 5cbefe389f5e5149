"""Networks that run in the page, and what they read there: test digits and spoken words."""

import io
import wave
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.page.provenance import Provenance
from benchmarks.page.text import base64_of, packed
from encoders.fetch import DataError
from encoders.keyword_network import front_end_of, load_network, normalisation_of
from encoders.mnist import load_mnist
from encoders.speech_commands import class_of, find_recordings
from rc_snn.models import RCLSTM
from rc_snn.network import Network, load

PER_CLASS = 2
"""Digits of each class: the first ones of the test set, not chosen."""


def weights(network: Network) -> dict[str, Any]:
    """Return an RC-LSTM for the script: float16 as it ships, each input's weights in one piece.

    Raises:
        ValueError: if it is another model, or its weights are finer than float16.
    """
    model = network.model
    if not isinstance(model, RCLSTM) or model.output.kind != "softmax":
        raise ValueError(
            f"The page runs an RC-LSTM with a softmax, {network.name} is a "
            f"{type(model).__name__}. Pass --network rc-lstm-340-slow, or a file of one."
        )
    own = {key: value.detach().numpy() for key, value in model.state_dict().items()}
    held = {
        "ih": own["cell.weight_ih"].T,
        "hh": own["cell.weight_hh"].T,
        "biasIh": own["cell.bias_ih"],
        "biasHh": own["cell.bias_hh"],
        "out": own["output.weight"],
        "outBias": own["output.bias"],
    }
    if model.dense is not None:
        held |= {"dense": own["dense.weight"], "denseBias": own["dense.bias"]}
    return {
        "name": network.name,
        "nInputs": model.n_inputs,
        "nHidden": model.n_hidden,
        "nClasses": model.n_classes,
        "theta": network.theta,
        "nSteps": network.n_steps,
        "measured": dict(network.measured),
        **{key: packed(value, "<f2") for key, value in held.items()},
    }


def digits(name: str, data: Path | None, known: Provenance) -> dict[str, Any]:
    """Return a network that reads digits, and the first test images of each class.

    Raises:
        ValueError: if the page cannot run the network.
    """
    network, found = load(name), load_mnist(data, download=False)
    if network.reads != "times" or network.n_steps is None or network.model.n_inputs != 784:
        raise ValueError(
            f"{network.name} does not read the spikes of 784 pixels on steps. Pass --network "
            "rc-lstm-340-slow, or the file of an RC-LSTM from Table 1."
        )
    test = found.test
    places = torch.cat([(test.labels == k).nonzero()[:PER_CLASS, 0] for k in range(10)])
    mean = None if network.mean is None else packed(network.mean.numpy(), "<f4")
    return {
        "network": weights(network) | {"mean": mean, "classes": [str(k) for k in range(10)]},
        "encoder": dict(network.encoder),
        "records": known.named(network.record),
        "source": found.title,
        "images": [
            {"place": int(i), "label": int(test.labels[i]), "grey": packed(test.images[i], "u1")}
            for i in places
        ],
    }


def words(data: Path | None, known: Provenance) -> dict[str, Any]:
    """Return the network that hears words, and the first test recording of each word.

    Without Speech Commands at hand: the reason.
    """
    try:
        recordings = find_recordings("test", data, download=False)
    except DataError as error:
        return {"missing": str(error)}
    network = load_network("rc-lstm-keywords")
    front_end, normalise = front_end_of(network), normalisation_of(network)
    names = {class_of(name): name for name in reversed(recordings.names)}
    clips = []
    for label, name in sorted(names.items()):
        samples = np.asarray(recordings.read(name)[: front_end.clip_samples])
        frames = normalise(torch.from_numpy(front_end(samples)))
        clips.append(
            {
                "file": name,
                "word": name.split("/")[0],
                "label": label,
                "sound": f"data:audio/wav;base64,{base64_of(wav(samples, front_end.sample_rate))}",
                "frames": packed(frames.numpy(), "<f4"),
            }
        )
    return {
        "network": weights(network) | {"classes": list(network.classes)},
        "context": front_end.context,
        "nMels": front_end.n_mels,
        "heardMs": front_end.heard_ms(torch.arange(front_end.n_steps)).tolist(),
        "clipMs": front_end.clip_ms,
        "hopMs": front_end.hop_ms,
        "records": known.named(network.record),
        "clips": clips,
    }


def wav(samples: Any, rate: int) -> bytes:
    """Return mono samples, full scale 1, as a WAV file of 16 bits.

    Example:
        >>> len(wav([0.0, 0.5, -1.0], 16_000))  # a header of 44 bytes
        50
    """
    whole = np.clip(np.round(32767 * np.asarray(samples)), -32768, 32767).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(whole.tobytes())
    return file.getvalue()
