"""The page as one file: template, style and script beside this module, the content as JSON."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

HEAD = "<!doctype html>\n<!-- written by python -m benchmarks.page -->\n"
"""How a page of ours begins."""
SCRIPTS = ("network.js", "charts.js", "results.js", "play.js")
"""In the order in which they run."""


def check_ours(path: Path) -> None:
    """Refuse to write over a file that is no page of ours.

    Raises:
        ValueError: if there is such a file.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder. Name a file, such as {path / 'rc_snn.html'}.")
    if path.exists():
        with path.open("rb") as file:
            if file.read(len(HEAD)) == HEAD.encode():
                return
        raise ValueError(
            f"{path} is not a page that this command wrote; it was left as it is. Move it away, "
            "or name another file with --out."
        )


def page(content: dict[str, Any]) -> str:
    """Return the page; in the JSON no text can end the script that holds it.

    Example:
        >>> "</script><b>" in page({"name": "</script><b>"})
        False
    """
    data = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    parts = {
        "style": _part("page.css"),
        "script": "\n".join(_part(name) for name in SCRIPTS),
        "data": data.replace("<", "\\u003c"),
    }
    text = HEAD + _part("page.html")
    for name, part in parts.items():
        text = text.replace(f"/* {name} */", part, 1)
    return text


def _part(name: str) -> str:
    return files("benchmarks.page").joinpath(name).read_text(encoding="utf-8")
