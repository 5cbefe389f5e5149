"""The commands of this package, a line each, and the targets that spikes are carried to."""

from bridges.support import NAMES
from rc_snn.commands import end, listing

if __name__ == "__main__":
    end(lambda: print(listing("bridges"), f"targets: {', '.join(NAMES)}", sep="\n"))
