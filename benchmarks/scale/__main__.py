"""Print the plan of docs/SCALE.md; options change what it assumes."""

from benchmarks.scale.plan import Plan, text
from rc_snn import commands

if __name__ == "__main__":
    commands.run(lambda options: print(text(options)), Plan)
