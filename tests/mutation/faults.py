"""What is written wrong, one place at a time: the mutants of a file."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

COMPARED = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
COMPUTED = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.Div,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
CALLED = {
    ("any", "all"),
    ("min", "max"),
    ("amin", "amax"),
    ("argmin", "argmax"),
    ("floor", "ceil"),
    ("exp", "log"),
    ("sum", "mean"),
    ("zeros", "ones"),
    ("cummax", "cummin"),
}
OTHER = {a: b for pair in CALLED for a, b in (pair, pair[::-1])}
NOT_MUTATED = (
    ast.Raise,  # the words of an error
    ast.Assert,  # tells mypy what is known
    ast.Import,
    ast.ImportFrom,
    ast.JoinedStr,
    ast.AnnAssign,  # a declaration, or the name of a type
)


@dataclass(frozen=True)
class Mutant:
    """A text that replaces a part of a file: characters `start` to `stop` of it."""

    path: str
    line: int
    start: int
    stop: int
    text: str

    def written(self, source: str) -> str:
        """Return the file with this fault in it."""
        return source[: self.start] + self.text + source[self.stop :]

    def shown(self, source: str) -> tuple[str, str]:
        """Return what stands there, and what the mutant puts there; with the rest of its line."""
        first = source.rfind("\n", 0, self.start) + 1
        last = source.find("\n", self.stop)
        new = source[first : self.start] + self.text + source[self.stop : last]
        return tuple(" ".join(x.split()) for x in (source[first:last], new))  # type: ignore[return-value]


def mutants(path: str, source: str) -> list[Mutant]:
    """Return every mutant of a file, in its order."""
    lines = [0]
    for line in source.splitlines(keepends=True):
        lines.append(lines[-1] + len(line))

    def at(line: int, column: int) -> int:  # columns of ast count bytes
        text = source[lines[line - 1] : lines[line]]
        return lines[line - 1] + len(text.encode()[:column].decode())

    found = []
    for node, new in _changed(ast.parse(source)):
        start, stop = (
            at(node.lineno, node.col_offset),
            at(node.end_lineno or 0, node.end_col_offset or 0),
        )
        text = new if isinstance(new, str) else ast.unparse(new)
        if isinstance(new, ast.expr) and not isinstance(new, ast.Constant | ast.Name | ast.Call):
            text = f"({text})"
        found.append(Mutant(path, node.lineno, start, stop, text))
    return found


def _changed(node: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, ast.AST | str]]:
    """Yield parts of a program, each with what a mutant has in its place."""
    if isinstance(node, NOT_MUTATED):
        return
    if isinstance(node, ast.Assign) and any(
        isinstance(x, ast.Name) and x.id == "__all__" for x in node.targets
    ):
        return
    if isinstance(node, ast.Expr):
        if isinstance(node.value, ast.Constant):  # a docstring
            return
        if isinstance(node.value, ast.Call):
            yield node, "pass"
    if isinstance(node, ast.expr):
        yield from ((node, new) for new in _expressions(node))
    elif isinstance(node, ast.AugAssign) and type(node.op) in COMPUTED:
        op = COMPUTED[type(node.op)]()
        yield node, ast.AugAssign(node.target, op, node.value)
    elif isinstance(node, ast.Break):
        yield node, "continue"
    elif isinstance(node, ast.Continue):
        yield node, "break"
    for name, value in ast.iter_fields(node):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and name == "args":
            # A text handed to a function, count(n, "n"), is a word of an error.
            value = [x for x in value if not isinstance(getattr(x, "value", None), str)]
        if name in ("annotation", "returns", "decorator_list", "bases"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _changed(child)


def _expressions(node: ast.expr) -> Iterator[ast.expr | str]:
    match node:
        case ast.Compare():
            for i, op in enumerate(node.ops):
                ops = [*node.ops[:i], COMPARED[type(op)](), *node.ops[i + 1 :]]
                yield ast.Compare(node.left, ops, node.comparators)
        case ast.BinOp() if type(node.op) in COMPUTED:
            yield ast.BinOp(node.left, COMPUTED[type(node.op)](), node.right)
        case ast.BoolOp():
            yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
        case ast.UnaryOp():
            yield node.operand
        case ast.IfExp() if not isinstance(node.test, ast.Compare | ast.BoolOp | ast.UnaryOp):
            yield ast.IfExp(ast.UnaryOp(ast.Not(), node.test), node.body, node.orelse)
        case ast.Constant(value=bool()):
            yield ast.Constant(not node.value)
        case ast.Constant(value=int() | float()):
            yield ast.Constant(node.value + 1)
        case ast.Constant(value=str()):
            yield ast.Constant(f"XX{node.value}XX")
        case ast.Attribute() if node.attr in OTHER:
            yield ast.Attribute(node.value, OTHER[node.attr], node.ctx)
        case ast.Name() if node.id in OTHER:
            yield ast.Name(OTHER[node.id], node.ctx)
