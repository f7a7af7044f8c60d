"""A hook of the site's builder: an API page lists every public name of its package."""

import ast
from pathlib import Path
from typing import Any

MARK = "<!-- public names -->"


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:  # noqa: ANN401 - the builder's own
    """Put one reference for each public name where a page has the mark.

    Args:
        markdown: Text of the page.
        page: The builder's page; its name is the package's.

    Returns:
        The text with references in place of the mark.
    """
    if MARK not in markdown:
        return markdown
    package = Path(page.file.src_path).stem
    names = sorted(public_names(package).items(), key=lambda pair: pair[0].lower())
    return markdown.replace(MARK, "\n".join(f"::: {package}.{at}.{name}" for name, at in names))


def public_names(package: str) -> dict[str, str]:
    """Public name -> its module, read from the package without importing it.

    Args:
        package: Name of a package beside this folder.

    Returns:
        What its table of lazy names holds.

    Raises:
        ValueError: If the package has no such table.
    """
    source = Path(__file__).resolve().parent.parent / package / "__init__.py"
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "_HOME" and node.value:
            return ast.literal_eval(node.value)
    raise ValueError(f"{source} has no table _HOME of public names.")
