"""Spikes and models for other simulators: `python -m bridges` lists commands and targets."""

import ast
from pathlib import Path

from bridges import support

MAIN = 'if __name__ == "__main__":'

for file in sorted(Path(__file__).parent.rglob("*.py")):
    code = file.read_text()
    if f"\n{MAIN}" in code and file.parent.name != "scripts":
        name = ".".join(file.relative_to(Path(__file__).parents[1]).with_suffix("").parts)
        print(f"python -m {name:18} {(ast.get_docstring(ast.parse(code)) or '').splitlines()[0]}")
print("Targets:", ", ".join(support.NAMES))
