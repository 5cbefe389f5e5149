"""Trained α-PSP and ReL-PSP networks inside Brian2 and NEST, against their closed form."""

from bridges.networks import brian2 as timing_brian2
from bridges.networks import nest as timing_nest
from bridges.networks.continuous import agreement
from encoders import embedded_digits
from encoders.functional import encode_alpha_psp, encode_latency
from rc_snn import load

images = embedded_digits().test.images[:5]
for name, times in (
    ("alpha-psp-340-fast-published", encode_alpha_psp(images)),
    ("rel-psp-340-slow", encode_latency(images, zero_pixels="silent")),
):
    net = load(name).model.double()
    exact = net.spike_times(times)
    for simulator in (timing_brian2, timing_nest):
        try:
            ran = simulator.spike_times(net, times, dt=0.01, frames=1.5)
        except ImportError as error:
            print(error)
            continue
        found = agreement(ran[0], exact[0], dt=0.01, end=1.5)
        print(f"{name} by {simulator.__name__}: {found}")
        assert found.within > 0.99
