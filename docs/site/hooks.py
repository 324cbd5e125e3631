"""What the site has beside the pages in docs/: generated reference pages, and files from other folders.

Links in pages are relative to the repository, as on GitHub. Here they are rewritten to where the site has the file.
"""

import json
import posixpath
import re
from pathlib import Path
from typing import Any

import commands
import options
import settings
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = ("CHANGELOG.md", "CONTRIBUTING.md", "multirun/README.md", "results")
"""Files and folders that become part of the site under the paths that they have in the repository."""
HOME = {"README.md": "index.md"}
NOTEBOOK = "notebook.md"
_LINK = re.compile(r"(?P<before>\]\()(?P<path>[^)#:\s]+)(?P<rest>(?:#[^)\s]*)?\))")
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def on_files(files: Any, config: Any) -> Any:
    """Add what is generated, and what lies outside docs/."""
    generated = {**settings.pages(), "reference/options.md": options.page(), "reference/commands.md": commands.page()}
    generated["notebook.ipynb"] = notebook((ROOT / "docs" / NOTEBOOK).read_text(encoding="utf-8"))
    for path, content in generated.items():
        files.append(File.generated(config, path, content=content))
    for path in outside():
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    return files


def outside() -> list[str]:
    """The files of OUTSIDE."""
    found = (it for place in OUTSIDE for it in ([ROOT / place], (ROOT / place).rglob("*"))[(ROOT / place).is_dir()])
    return sorted(it.relative_to(ROOT).as_posix() for it in found if it.is_file())


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Rewrite links that leave docs/, or come from outside of it."""
    if page.file.src_uri == NOTEBOOK:
        markdown = markdown.replace("\n\n", "\n\n[Download it as a Jupyter notebook](notebook.ipynb)\n\n", 1)
    source = page.file.src_uri
    return _outside_fences(markdown, lambda text: _LINK.sub(lambda link: _moved(link, source), text))


def _outside_fences(markdown: str, change: Any) -> str:
    """Text with a change that leaves code alone."""
    parts, place = [], 0
    for fence in _FENCE.finditer(markdown):
        parts += [change(markdown[place : fence.start()]), fence[0]]
        place = fence.end()
    return "".join([*parts, change(markdown[place:])])


def _moved(link: re.Match[str], source: str) -> str:
    """A link as it must be in the site."""
    home = source if source in outside() else f"docs/{source}"
    path = posixpath.normpath(posixpath.join(posixpath.dirname(home), link["path"]))
    target = HOME.get(path, path.removeprefix("docs/"))
    rest = link["rest"]
    if path.startswith("conf/"):
        target, rest = "reference/options.md", f"#{Path(path).parts[1]})"
    return f"{link['before']}{posixpath.relpath(target, posixpath.dirname(source) or '.')}{rest}"


def notebook(markdown: str) -> str:
    """A page as a Jupyter notebook: its Python blocks are cells, and so is the text between them."""
    cells: list[dict[str, Any]] = []
    for number, part in enumerate(re.split(r"^```python[^\n]*\n(.*?)^```$", markdown, flags=re.MULTILINE | re.DOTALL)):
        text = part.strip()
        if number % 2:
            cells.append({"cell_type": "code", "execution_count": None, "outputs": []})
        elif text:
            cells.append({"cell_type": "markdown"})
        else:
            continue
        cells[-1] |= {"id": f"cell-{number}", "metadata": {}, "source": text.splitlines(keepends=True)}
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return json.dumps({"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}, indent=1)
