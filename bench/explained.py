"""What `harsanyi explain` leaves behind: the values as safetensors, and a page with pictures."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from baselines.explanation import Explanation


def keep_explained(
    explanation: "Explanation",
    *,
    out: Path | None,
    html: Path | None,
    of: str,
    what: str,
    sections: Callable[[], Sequence[Any]],
    command: str,
) -> list[str]:
    """Write what was asked for.

    Args:
        explanation: Of the rows, pictures or texts.
        out: File of the values, or None.
        html: Page, or None.
        of: What the page's title says was explained.
        what: The kind of explicands, such as `"pictures"`.
        sections: Makes the parts of the page, when there is one.
        command: What repeats the run.

    Returns:
        The paths written.
    """
    written = []
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        explanation.save(out)
        written.append(str(out))
    if html is not None:
        from bench.demo import versions
        from bench.pages import write_page
        from bench.provenance import provenance

        made = {"command": command, **provenance(), "versions": versions()}
        lead = f"{len(explanation):,} {what}, explained by the model that predicts them."
        write_page(html, f"Explanations of {of}", lead, list(sections()), made)
        written.append(str(html))
    return written
