"""What `make check` asks of the shape of the code: short functions, few parameters, modules that are read in one go.

A module may be longer for a reason that its docstring gives, after the words `Longer than 450 lines because`.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src" / "hustings"
LINES, PARAMETERS, MODULE = 50, 6, 450
REASON = "Longer than 450 lines because"


def faults(path: Path, text: str) -> Iterator[str]:
    """What is too long in a module, one line each."""
    tree = ast.parse(text)
    length = text.count("\n")
    if length > MODULE and REASON not in " ".join((ast.get_docstring(tree) or "").split()):
        yield f"{path}: {length} lines, of {MODULE} at most"
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if lines > LINES:
            yield f"{path}:{node.lineno}: {node.name} has {lines} lines, of {LINES} at most"
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        names = [it.arg for it in arguments if it.arg not in ("self", "cls")]
        if len(names) > PARAMETERS:
            yield f"{path}:{node.lineno}: {node.name} has {len(names)} parameters, of {PARAMETERS} at most"


def main() -> int:
    """Say what is too long; whether anything is."""
    found = [
        fault
        for path in sorted(SOURCE.rglob("*.py"))
        for fault in faults(path.relative_to(SOURCE.parents[1]), path.read_text(encoding="utf-8"))
    ]
    print(*found, sep="\n", end="\n" if found else "")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
