"""The commands of this package, a line each, and the targets that spikes are carried to."""

from bridges.support import NAMES
from rc_snn.commands import listing

if __name__ == "__main__":
    print(listing("bridges"), f"targets: {', '.join(NAMES)}", sep="\n")
