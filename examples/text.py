"""Texts, end to end: train, explain word by word, find the pairs that matter, check by brute force.

python examples/text.py                  # short made-up reviews
python examples/text.py reviews.tsv      # a file of your own with columns text and label
"""

import sys
from pathlib import Path

import torch
from rich import print as show

from baselines import TableGame, exact_shapley
from baselines.coalitions import all_coalitions
from bench.problems.text_data import load_texts
from harsanyi import HarsanyiForTextClassification


def main(arguments: list[str], folder: Path = Path("out/text"), **settings: object) -> float:
    """Run the example.

    Args:
        arguments: Path of a file of texts and labels, or nothing.
        folder: Where the model and a page of heat maps are written.
        settings: More keyword arguments for `from_texts`.

    Returns:
        Largest difference between the model's values and enumeration.
    """
    data = load_texts(arguments[0] if arguments else "templates")
    texts, labels = list(data.texts), [data.classes[y] for y in data.labels or ()]
    cut = len(texts) * 4 // 5

    # 1. Words become players; n-grams and matrix products tie them together.
    net = HarsanyiForTextClassification.from_texts(texts[:cut], labels[:cut], **settings)
    print(
        f"accuracy on {len(texts) - cut} held-out texts: {net.score(texts[cut:], labels[cut:]):.3f}"
    )

    # 2. Exact values of every word, shaded in the terminal; the same as a fragment of HTML.
    few = ["not a good film", "a good film, never dull"] if not arguments else texts[cut : cut + 3]
    explanation = net.explain(few)
    for row in range(len(few)):
        show(explanation.plot.text(row, output=-1))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "review.html").write_text(explanation.plot.text(0, output=-1).html())

    # 3. Which words act together?
    for words, value in net.interactions(few[:1], order=2).top(5, output=-1):
        print(f"{' & '.join(words)}: {value:+.2f}")

    # 4. A game in which absence is deletion: cut the words out and ask again.
    deleting = HarsanyiForTextClassification.from_texts(
        texts[:cut], labels[:cut], design="bag+matrices", **settings
    ).double()
    text = "this is not a good film"
    kept = torch.tensor([[True, True, False, True, True, True]])
    same = deleting.logits([text], kept) - deleting.logits(["this is a good film"])
    print(f"absent against deleted: {float(same.abs().max()):.0e}")

    # 5. Trust nobody: enumerate.
    coalitions = all_coalitions(6)
    table = deleting.logits([text] * len(coalitions), coalitions)
    truth = exact_shapley(TableGame(table[None]))
    error = float((deleting.explain([text]).values - truth.values).abs().max())
    print(f"largest difference from enumerating {truth.n_evals} coalitions: {error:.0e}")

    # 6. Files: safetensors, JSON, and the tokenizer beside them.
    net.save_pretrained(folder / "model")
    again = HarsanyiForTextClassification.from_pretrained(folder / "model")
    assert torch.equal(again.explain(few).values, explanation.values)
    return error


if __name__ == "__main__":
    main(sys.argv[1:])
