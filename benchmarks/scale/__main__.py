"""Print the plan of docs/SCALE.md; options change what it assumes."""

from benchmarks.scale.plan import Plan, text
from rc_snn import commands
from rc_snn.progress import Bar


def main(options: Plan) -> None:
    """Print the plan."""
    with Bar("simulate the grid", 1):
        plan = text(options)
    print(plan)


if __name__ == "__main__":
    commands.run(main, Plan)
