"""Late-interaction search over real text, with exact reasons for every score.

python examples/search.py                                    # this project's own documentation
python examples/search.py "a question" notes.md other.txt    # your files

Word vectors are hashed character n-grams, so nothing is downloaded; any encoder of tokens will do.
"""

import re
import sys
from pathlib import Path

import torch
from rich import print as show
from sklearn.feature_extraction.text import HashingVectorizer

from harsanyi import MaxSim

DOCS = Path(__file__).resolve().parent.parent
COMMON = set(
    re.findall(r"\w+", "a an and are as at be by for from in is it its of on or the this to")
)


def paragraphs(paths: list[Path]) -> list[str]:
    """Paragraphs of prose: no tables, no code."""
    found = []
    for path in paths:
        for part in re.split(r"\n\s*\n", path.read_text(encoding="utf-8")):
            if len(part.split()) >= 12 and not part.lstrip().startswith(("|", "    ", "```", "#")):
                found.append(" ".join(part.split()))
    return found


def encode(text: str) -> tuple[list[str], torch.Tensor]:
    """Words of a text and their vectors: words that share letters in a row are near."""
    words = [w for w in re.findall(r"[a-z][a-z-]+", text.lower()) if w not in COMMON]
    hashing = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 5), n_features=1024)
    if not words:
        return [], torch.zeros(0, 1024)
    return words, torch.from_numpy(hashing.transform(words).toarray())


def main(arguments: list[str]) -> float:
    """Run the example.

    Args:
        arguments: A question and files, or nothing.

    Returns:
        Largest difference between the values' sum and the score.
    """
    question = arguments[0] if arguments else "interactions between players of a game"
    paths = [Path(a) for a in arguments[1:]] or [DOCS / "README.md", DOCS / "docs" / "concepts.md"]
    texts = [text for text in paragraphs(paths) if encode(text)[0]]
    search = MaxSim(encode)

    # 1. The best paragraphs, by the sum of each query word's best match.
    best = search.rank(question, texts, top=3)
    hits = [texts[i] for i, _ in best]

    # 2. Which words earned the score? Exact Shapley values of "this vector is kept in the index".
    explanation = search.explain(question, hits)
    for row, (_, score) in enumerate(best):
        print(f"\nscore {score:.2f}")
        show(explanation.plot.text(row))

    # 3. Prune the index: drop the half of the vectors that are worth least, and score again.
    values = explanation.values[0, : len(explanation.player_names(0)), 0]
    keep = values >= values.median()
    pruned = search.score(question, hits[:1], [keep.tolist()])
    print(f"\nwith half of its vectors the first hit scores {float(pruned[0]):.2f}")

    # 4. Both sides as players: what each word of the question contributed.
    both = search.explain(question, hits[:1], players="both")
    asked = encode(question)[0]
    print({word: round(float(v), 2) for word, v in zip(asked, both.values[0, :, 0], strict=False)})
    return float((explanation.values.sum((1, 2)) - search.score(question, hits)).abs().max())


if __name__ == "__main__":
    main(sys.argv[1:])
