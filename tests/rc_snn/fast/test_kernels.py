"""Compiled programs: the serial and the parallel one of a kernel are never taken for each other."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import sys
import torch
from numba.np.ufunc import parallel
from rc_snn.fast.event_products import event_linear
from rc_snn.sequences import Events
torch.set_num_threads(int(sys.argv[1]))
x = Events.encode(torch.tensor([[1, 0, 2]]), n_steps=2).at(1)
print(event_linear(x, torch.tensor([[3.0, 5.0, 7.0]])).item())
print(torch.get_num_threads(), parallel._is_initialized)
"""


@pytest.mark.slow
def test_what_two_threads_have_compiled_is_not_what_one_thread_loads(tmp_path):
    """numba's pool sets the number of threads of the process: with one thread it must not begin."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_NUM_THREADS": "2"}

    def run(threads: int) -> list[str]:
        command = [sys.executable, "-c", SCRIPT, str(threads)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.split()

    assert run(2) == ["3.0", "2", "True"]
    assert run(1) == ["3.0", "1", "False"]
    assert run(1) == ["3.0", "1", "False"], "from the cache, too"
