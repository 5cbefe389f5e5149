"""How Sphinx builds these pages: python -m sphinx -W -n -b html docs OUT."""

import re
import typing
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

# Shapes are shown as they are written, Float[Tensor, "time batch"]; jaxtyping looks at this name.
typing.GENERATING_DOCUMENTATION = "rc_snn"  # type: ignore[attr-defined]

project, author = "rc_snn", "the authors of rc_snn"
release = version = version_of("rc_snn")
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax", "myst_nb"]
html_theme, html_title = "pydata_sphinx_theme", project
WIDE = ("reproduction", "table1", "neurobench")
"""Pages of wide tables, which leave no room for what else stands beside a page."""
html_theme_options = {
    "show_prev_next": False,
    "header_links_before_dropdown": 7,
    "secondary_sidebar_items": {"**": ["page-toc"]} | {page: [] for page in WIDE},
}
html_sidebars = {page: [] for page in WIDE}
html_show_sourcelink = False
default_role = "literal"  # `name` in a docstring is code

# Tutorials are text, run in each build from a clean kernel; one that fails fails the build.
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_output_stderr = "remove"  # progress bars
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_custom_sections = ["Source"]

# Everything of ours must be found, or be named here. Packages of others are not looked up: their
# inventories are on the network, and the pages must build without it.
nitpick_ignore_regex = [
    (
        r"py:.*",
        r"(torch|numpy|np|npt|collections|contextlib|matplotlib|pathlib|types|io|tonic|typing)\..*",
    ),
    (r"py:class", r"(Tensor|ndarray|Bool|Float|Int|Num|Shaped|UInt)(\d+|)(\[.*)?"),
    # Parts of the inside that a signature names, without a page of their own.
    (r"py:class", r"rc_snn\.(cells|spike_events|runs)\..*|rc_snn\.distributed\.T"),
    (
        r"py:.*",
        r"rc_snn\.files\.Busy|NETWORK_ERRORS|benchmarks\.table1\.options\.Table1|Positional",
    ),
    (r"py:class", r"baselines\.tensor_path\..*|bridges\.neurobench\.(models|layers)\..*"),
]


SHOWN_AS = {"results/table1.md": "table1.md", "results/neurobench/neurobench.md": "neurobench.md"}
"""Texts of results/ that are pages here."""


def link_from_the_site(app: Any, name: str, content: list[str]) -> None:
    """Lead links to texts that are pages here to these."""
    for path, page in SHOWN_AS.items():
        content[0] = content[0].replace(f"](../{path})", f"]({page})")


def link_from_docs(app: Any, path: Path, parent: str, content: list[str]) -> None:
    """Let README, which is shown as a page of this folder, link from here."""
    if Path(path).name == "README.md":
        text = re.sub(r"\]\(docs/", "](", content[0])
        content[0] = re.sub(r"\]\((results/|CITATION)", r"](../\1", text)
        link_from_the_site(app, parent, content)


FIELDS = ("attribute", "data", "property")


def hide_colon(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Keep napoleon from taking what precedes a colon in a field's first line for its type."""
    if what in FIELDS and lines:
        lines[0] = lines[0].replace(":", "\0")


def show_colon(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Put the colons back."""
    if what in FIELDS:
        lines[:] = [line.replace("\0", ":") for line in lines]


def setup(app: Any) -> None:
    """Register them."""
    app.connect("source-read", link_from_the_site)
    app.connect("include-read", link_from_docs)
    app.connect("autodoc-process-docstring", hide_colon, priority=400)  # napoleon's is 500
    app.connect("autodoc-process-docstring", show_colon, priority=600)
