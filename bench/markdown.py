"""Tables in Markdown."""


def markdown(rows: list[list[str]]) -> str:
    """A table of cells.

    Args:
        rows: The heads, then the lines; first cells are names, the others numbers.

    Returns:
        Lines without a last line break.
    """
    head, *body = rows
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *body]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
