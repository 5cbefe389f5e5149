"""The commands of this package, a line each."""

from rc_snn.commands import listing

if __name__ == "__main__":
    print(listing("benchmarks"))
