"""The suite of text nets and the judge of human marks: small, resumable, and right where known."""

import numpy as np
import pytest
import torch

from bench import text_nets
from bench.problems.text_data import TextData
from bench.text_nets import negation_parity, read_cells, report, run_cell
from bench.text_rationales import player_marks
from bench.text_rivals import RIVALS
from harsanyi import HarsanyiForTextClassification


@pytest.fixture
def small(monkeypatch):
    """A text set of forty texts in place of the real ones."""
    made = negation_parity(200, 0, length=4)
    test = negation_parity(40, 1, length=4)
    monkeypatch.setattr(text_nets, "text_set", lambda name: (made, {"test": test}))


def test_labels_of_negations_are_the_sentiment_turned_by_earlier_negators():
    data = negation_parity(300, 5)
    positive = {"good", "great", "fine", "lovely"}
    for text, label in zip(data.texts, data.labels, strict=True):
        words = text.split()
        place = next(
            i for i, w in enumerate(words) if w in positive | {"bad", "awful", "poor", "dull"}
        )
        flips = sum(w in {"not", "never", "hardly", "n't"} for w in words[:place])
        assert label == ((words[place] in positive) + flips) % 2
    assert 0.4 < np.mean(data.labels) < 0.6


def test_cells_are_kept_and_compared_in_pairs(small, tmp_path, capsys):
    words = [
        "--out",
        str(tmp_path),
        "--sets",
        "sst2",
        "--models",
        "sum,gru,transformer",
        "--epochs",
        "1",
    ]
    text_nets.main(words)
    cells = read_cells(tmp_path)
    assert set(cells) == {("sst2", m, 0) for m in ("sum", "gru", "transformer")}
    written = (tmp_path / "sst2-gru-0.json").read_bytes()
    text_nets.main(words)
    assert (tmp_path / "sst2-gru-0.json").read_bytes() == written
    assert "| gru | 1 |" in report(tmp_path)
    assert not list((tmp_path / "runs").iterdir())
    with pytest.raises(SystemExit):
        text_nets.main(["--out", str(tmp_path), "--models", "lstm"])
    assert "lstm" in capsys.readouterr().err


def test_a_cell_is_the_same_every_time(small):
    first, second = (run_cell("sst2", "matrices", 1, 1)["right"] for _ in range(2))
    assert first == second


@pytest.mark.parametrize("kind", RIVALS)
def test_rivals_do_not_see_padding(kind):
    net = RIVALS[kind](20, 16, 2, 0.0).eval()
    net.reset_parameters(torch.Generator().manual_seed(0))
    x = torch.tensor([[3, 4, 5, 6]])
    wide = torch.cat([x, torch.zeros(1, 3, dtype=torch.long)], 1)
    gap = net(wide, real=wide != 0) - net(x, real=x != 0)
    assert gap.abs().max() <= 1e-6
    nobody = net(x, torch.zeros(1, 4, dtype=torch.bool), real=x != 0)
    assert torch.isfinite(nobody).all()


def test_a_gru_without_a_word_is_a_gru_of_the_shorter_text():
    net = RIVALS["gru"](20, 16, 2, 0.0).eval()
    x, present = torch.tensor([[3, 4, 5, 6]]), torch.tensor([[True, False, True, True]])
    short = x[:, [0, 2, 3]]
    gap = net(x, present, real=x != 0) - net(short, real=short != 0)
    assert gap.abs().max() <= 1e-6


def test_marks_of_characters_become_marks_of_words():
    data = TextData("own", ["a good film", "a bad film"] * 8, [1, 0] * 8, ("n", "p"))
    model = HarsanyiForTextClassification.from_texts(
        data.texts, data.labels, epochs=1, width=4, min_count=1
    )
    flags = np.zeros(11, dtype=bool)
    flags[3:5] = True  # inside "good"
    marks = player_marks(model, ["a good film"], [flags], 4)
    assert marks.tolist() == [[False, True, False, False]]
