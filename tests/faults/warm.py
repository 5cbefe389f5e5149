"""Imported by the process that the children are forked from: what they would all do first."""

import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

import tiny

if not torch.cuda.is_available():  # whose threads, begun by a backward pass, no fork may have
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        tiny.learn(Path(folder), 1)
