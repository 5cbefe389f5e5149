"""The commands of this package, a line each."""

from rc_snn.commands import end, listing

if __name__ == "__main__":
    end(lambda: print(listing("benchmarks")))
