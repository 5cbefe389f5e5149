"""What is no chain of layers that `from_relu` maps, and what to do about it."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import prune
from torch.nn.utils.parametrizations import spectral_norm
from torch.nn.utils.parametrize import remove_parametrizations

from baselines import from_relu, relu_inputs


class Residual(nn.Module):
    def __init__(self, kind="sum"):
        super().__init__()
        self.kind, self.a, self.b = kind, nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        h = torch.relu(self.a(x))
        if self.kind == "branch":
            h = torch.relu(self.a(h))
            return self.b(x)
        if self.kind == "values" and x.sum() > 0:
            return self.b(x)
        return self.b(h + x)


def ending(*layers):
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(1, 2))  # never reached


def conv(**options):
    return nn.Conv2d(1, 2, 3, **options)


REFUSED = {
    "batch norm": (ending(conv(), nn.BatchNorm2d(2), nn.ReLU()), "BatchNorm2d.*fuse_conv_bn_eval"),
    "average": (ending(conv(), nn.ReLU(), nn.AvgPool2d(2)), "AvgPool2d.*max pooling or a strided"),
    "adaptive": (ending(conv(), nn.ReLU(), nn.AdaptiveAvgPool2d(1)), "No single spike is a mean"),
    "sum": (Residual(), "add.*no residual sums"),
    "branch": (Residual("branch"), "a branch at Linear.*nothing else"),
    "values": (Residual("values"), "cannot be traced.*without conditions"),
    "gelu": (nn.Sequential(nn.Linear(4, 3), nn.GELU(), nn.Linear(3, 2)), "GELU.*Replace it with R"),
    "leaky": (nn.Sequential(nn.Linear(4, 3), nn.LeakyReLU()), "LeakyReLU.*Replace it with ReLU"),
    "layer norm": (nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3)), "LayerNorm.*batch norm"),
    "softmax": (nn.Sequential(nn.Linear(4, 3), nn.Softmax(1)), "Softmax.*Leave it out"),
    "no relu": (nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)), "without a ReLU between"),
    "last relu": (nn.Sequential(nn.Linear(4, 3), nn.ReLU()), "a ReLU after the last layer"),
    "last conv": (nn.Sequential(conv()), "last layer is not linear.*End with nn.Linear"),
    "nothing": (nn.Sequential(nn.ReLU()), "last layer is not linear"),
    "dilation": (ending(conv(dilation=2)), "Conv2d.*without dilation"),
    "groups": (ending(nn.Conv2d(2, 2, 3, groups=2)), "2 channels on .1, 8, 8.*Pass samples"),
    "kernel": (ending(nn.Conv2d(1, 2, (3, 1))), "Take a square kernel"),
    "too large": (ending(nn.Conv2d(1, 2, 9)), "Take a smaller kernel"),
    "overlap": (ending(conv(), nn.ReLU(), nn.MaxPool2d(3, 2)), "stride = kernel"),
    "ceil": (ending(conv(), nn.ReLU(), nn.MaxPool2d(4, ceil_mode=True)), "Leave these out"),
    "pool first": (ending(nn.MaxPool2d(2)), "Pool after a convolution"),
    "pool all": (ending(conv(), nn.ReLU(), nn.MaxPool2d(7)), "MaxPool2d of 7.*smaller one"),
    "1d": (nn.Sequential(nn.Conv1d(1, 2, 3)), "Take nn.Linear and nn.Conv2d only"),
    "not flat": (nn.Sequential(conv(), nn.ReLU(), nn.Linear(6, 2)), "Flatten what it reads"),
    "unflatten": (nn.Sequential(nn.Unflatten(1, (1, 4))), r"Give the network images \[batch"),
}  # fmt: skip


def hooked(module, hook):
    getattr(module, f"register_{hook}_hook")(lambda *_: None)
    return nn.Sequential(module, nn.ReLU(), nn.Linear(3, 2))


def replaced():
    net = nn.Linear(4, 2)
    net.forward = lambda x: -F.linear(x, net.weight, net.bias)
    return net


pruned = prune.l1_unstructured(nn.Linear(4, 3), "weight", 0.5)
CHANGED = {
    "hook": (
        hooked(nn.Linear(4, 3), "forward"),
        "Linear .at '0'. with a forward hook.*end",
    ),
    "hook before": (hooked(nn.Linear(4, 3), "forward_pre"), "ends a hook"),
    "pruned": (nn.Sequential(pruned, nn.ReLU(), nn.Linear(3, 2)), "prune.remove"),
    "forward": (replaced(), "a forward of its own"),
    "parametrized": (spectral_norm(nn.Linear(4, 2)), "remove_parametrizations"),
    "lazy": (nn.LazyLinear(2), "Run the network once"),
}


@pytest.mark.parametrize("case", CHANGED)
@pytest.mark.filterwarnings("ignore:Lazy modules:UserWarning")
def test_layers_that_do_other_than_their_class_says_are_refused(case):
    net, message = CHANGED[case]
    with pytest.raises(ValueError, match=message):
        from_relu(net, input_size=(4,))


def test_pruned_and_normed_layers_map_once_their_weight_is_ordinary(generator):
    net = nn.Sequential(nn.Linear(16, 20), nn.ReLU(), spectral_norm(nn.Linear(20, 3))).eval()
    prune.l1_unstructured(net[0], "weight", 0.5)
    with torch.no_grad():
        net[0].weight_orig.mul_(-1)  # the weight that a forward pass would make is not made yet
    times = torch.rand(50, 16, generator=generator)
    told = net(relu_inputs(times))
    prune.remove(net[0], "weight")
    remove_parametrizations(net[2], "weight")
    out = from_relu(net).local_times(times)[-1]
    torch.testing.assert_close(-out.float(), told, rtol=0, atol=1e-3)


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_chain_is_refused_with_the_remedy(case):
    net, message = REFUSED[case]
    flat = case in ("sum", "branch", "values", "gelu", "leaky", "layer norm", "softmax", "no relu",
                    "last relu")  # fmt: skip
    with pytest.raises(ValueError, match=message):
        from_relu(net, input_size=(4,) if flat else (1, 8, 8))
