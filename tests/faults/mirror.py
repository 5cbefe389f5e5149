"""Small files that stand in for MNIST on a slow server of this machine."""

import gzip
import hashlib
import threading
import time
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from encoders import fetch, mnist
from encoders.mnist import Digits, MnistFile, load_mnist


def raw_files() -> dict[str, bytes]:
    """30 training and 20 test digits in the idx format."""
    draw, raw = np.random.default_rng(0), {}
    for part, n in (("train", 30), ("t10k", 20)):
        head = b"\0\0\x08", n.to_bytes(4, "big")
        images = draw.integers(256, size=n * 784, dtype=np.uint8).tobytes()
        side = (28).to_bytes(4, "big")
        raw[f"{part}-images-idx3-ubyte"] = head[0] + b"\x03" + head[1] + side + side + images
        labels = draw.integers(10, size=n, dtype=np.uint8).tobytes()
        raw[f"{part}-labels-idx1-ubyte"] = head[0] + b"\x01" + head[1] + labels
    return raw


def load(cache: Path, url: str) -> Digits:
    """Load them as MNIST, from a cache that is empty at first."""
    mnist.MNIST_FILES = tuple(
        MnistFile(name, hashlib.md5(raw).hexdigest(), len(raw)) for name, raw in raw_files().items()
    )
    fetch.folders = lambda data: [cache / "nothing"]
    mnist.folders, mnist.cache_folder = fetch.folders, lambda: cache
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the warning of embedded digits
        digits = load_mnist(mirrors=[url])
    assert (digits.name, len(digits.train.labels)) == ("MNIST", 30)
    return digits


class Mirror:
    """A server of the four files, so slow that two processes meet in a download."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.files = {f"{n}.gz": gzip.compress(raw, mtime=0) for n, raw in raw_files().items()}
        self.asked: list[str] = []
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = mirror.files[self.path[1:]]
                mirror.asked.append(self.path[1:])
                asked = self.headers.get("Range")
                start = int(asked[6:-1]) if asked else 0
                if asked and start >= len(content):
                    self.send_error(416)
                    return
                self.send_response(206 if asked else 200)
                self.send_header("Content-Length", str(len(content) - start))
                self.end_headers()
                try:
                    for i in range(start, len(content), 4096):
                        self.wfile.write(content[i : i + 4096])
                        time.sleep(seconds)
                except OSError:  # the reader was killed
                    pass

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
