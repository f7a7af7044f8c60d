"""Text problems: small real targets on texts of the data folder, a user's model, and a known rule.

`text/templates` is the rule itself, with known values; `<texts>/bert2` and `<texts>/bert6` are
targets of 2 and 6 layers, words dropped; an ending `/mask` or `/pad` removes words otherwise.
"""

from collections.abc import Sequence
from os import PathLike
from typing import Any

from baselines.text_players import Players
from baselines.text_removal import REMOVALS, Removal
from bench.problems.problem import Problem
from bench.problems.text_data import TEXT_SETS, TextData, load_texts
from bench.problems.text_targets import DEPTHS, text_target
from bench.problems.text_templates import TemplateGame, known_values

RULE = "text/templates"


def text_problem_names() -> list[str]:
    """Every name that `text_problem` takes, without the endings for removal."""
    return [RULE, *(f"{texts}/{depth}" for texts in TEXT_SETS for depth in DEPTHS)]


def is_text_problem(name: str) -> bool:
    """Whether a name, without an ending for the seed, is of a text problem."""
    words = name.split("/")
    ending = words[2:]
    return name == RULE or (
        len(words) in (2, 3)
        and words[0] in TEXT_SETS
        and words[1] in DEPTHS
        and (not ending or ending[0] in REMOVALS)
    )


def text_problem(name: str, *, b: int = 32, seed: int = 0) -> Problem:
    """A text problem by name; trains its target if that is not cached.

    Args:
        name: Such as `sst2/bert2` or `agnews/bert2/mask`.
        b: Texts to explain, drawn from the test part.
        seed: Of the target and of the choice of texts.

    Returns:
        A Problem whose `model` is a TextModel (None for the rule).

    Raises:
        ValueError: If there is no such problem.
        FileNotFoundError: If the data folder lacks the texts.
    """
    if not is_text_problem(name):
        raise ValueError(f"text problem {name!r} is unknown; try {text_problem_names()[:4]}.")
    data, kind, *ending = name.split("/")
    if name == RULE:
        return _rule(load_texts("templates", "test").first(b, seed))
    removal: Any = ending[0] if ending else "drop"
    folder = text_target(f"{data}/{kind}", seed=seed)
    chosen = load_texts(data, "test").first(b, seed)
    return target_problem(name, folder, chosen, removal=removal)


def target_problem(
    name: str,
    target: str | PathLike[str],
    data: TextData,
    *,
    players: Players = "word",
    removal: Removal = "drop",
    **options: Any,  # noqa: ANN401 - TextModel's own
) -> Problem:
    """The problem of explaining any classifier on some texts.

    Args:
        name: Of the problem.
        target: A local folder or a name on the hub, loaded through transformers.
        data: The texts; empty ones are left out, since nobody plays in them.
        players: What plays.
        removal: What becomes of absent players.
        options: Further keyword arguments of `TextModel`.

    Returns:
        A Problem on the target's logits.

    Raises:
        OSError: If there is no such target.
        ValueError: If no text is left.
    """
    from amortized.examples import is_blank
    from baselines.text import TextModel

    model = TextModel.from_pretrained(target, players=players, removal=removal, **options)
    full = [i for i, text in enumerate(data.texts) if not is_blank(text)]
    if not full:
        raise ValueError(f"data {data.name!r} has no text with a word in it.")

    def game(x: Sequence[Any]) -> Any:  # noqa: ANN401 - a TextGame
        return model(list(x))

    return Problem(
        name=name,
        x=[data.texts[i] for i in full],
        y=None if data.labels is None else [data.labels[i] for i in full],
        game_factory=game,
        scale="logit" if model.link == "logit" else "value",
        model=model,
    )


def _rule(data: TextData) -> Problem:
    return Problem(
        name=RULE,
        x=data.texts,
        y=data.labels,
        game_factory=TemplateGame,
        known=known_values,
    )
