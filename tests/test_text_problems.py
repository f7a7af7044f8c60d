"""Laws of text problems: a rule whose values are known, real texts, targets trained once."""

import json

import pytest
import torch

from baselines import exact_shapley
from bench import evaluate, ground_truth
from bench.contenders import sampled
from bench.problems import named_problem, problem_names
from bench.problems.text import target_problem, text_problem
from bench.problems.text_data import TextData, load_texts, read_texts
from bench.problems.text_targets import Recipe, train_target
from bench.problems.text_templates import TemplateGame, template_texts


def plain_texts(size):
    """Texts whose label one word decides."""
    nouns = ("film", "plot", "cast", "music", "ending", "story", "pace")
    texts = [
        f"the {nouns[i % 7]} and the {nouns[i // 7 % 7]} were {('bad', 'good')[i % 2]}"
        for i in range(size)
    ]
    return TextData("plain", texts, [i % 2 for i in range(size)], ("negative", "positive"))


def tiny(folder):
    recipe = Recipe(width=32, layers=1, vocabulary=120, length=24, epochs=8, batch=32, lr=5e-3)
    return train_target(plain_texts(256), plain_texts(30), folder, recipe, 0, False)


def test_known_values_of_the_rule_are_those_of_enumeration():
    problem = named_problem("text/templates", b=12)
    truth = ground_truth(problem)
    by_force = exact_shapley(problem.game())
    torch.testing.assert_close(truth.values, by_force.values)
    assert truth.player_names(0) == by_force.player_names(0)
    mark = evaluate(sampled("permutation_shapley", 400), problem, truth, name="sampler")
    assert float(mark.scores["spearman"].mean()) > 0.9


def test_the_rule_turns_doubles_and_weighs():
    def score(text):
        game = TemplateGame([text])
        return float(game(torch.ones(1, 1, game.n_players, dtype=torch.bool))[0, 0, 1]) * 2

    assert score("the film was good") == 1.0
    assert score("the film was not good") == -1.0
    assert score("the film was not very good") == -2.0
    assert score("the film was dull but the cast was good") == 1.0


def test_templates_are_all_different_balanced_and_the_same_every_time():
    texts, labels = template_texts(500)
    assert len(set(texts)) == 500
    assert 0.4 < sum(labels) / 500 < 0.6
    assert template_texts(500) == (texts, labels)
    train, test = load_texts("templates"), load_texts("templates", "test")
    assert not set(train.texts) & set(test.texts)


def test_a_target_is_trained_saved_with_its_tokenizer_and_explained(tmp_path):
    told = tiny(tmp_path / "target")
    assert told["accuracy"] == 1.0
    assert json.loads((tmp_path / "target" / "target.json").read_text()) == told
    assert not (tmp_path / "target" / "checkpoints").exists()
    texts = plain_texts(3)
    problem = target_problem("mine", tmp_path / "target", texts)
    truth = ground_truth(problem)
    assert truth.exact
    assert truth.outputs == ("negative", "positive")
    assert truth.player_names(0) == tuple(texts.texts[0].split())
    assert truth.values[1, :, 1].argmax() == 6  # the word "good" decides


def test_named_targets_are_trained_once(tmp_path, monkeypatch):
    from bench.problems import text_targets

    monkeypatch.setenv("HARSANYI_CACHE", str(tmp_path))
    small = {"width": 32, "vocabulary": 120, "length": 24, "epochs": 1, "most": 128}
    monkeypatch.setitem(text_targets.RECIPES, "templates", small)
    first = named_problem("templates/bert2", b=2)
    (told,) = tmp_path.glob("targets/*/target.json")
    stamp = told.stat().st_mtime_ns
    assert named_problem("templates/bert2", b=2).content_hash == first.content_hash
    assert told.stat().st_mtime_ns == stamp
    masked = named_problem("templates/bert2/mask", b=2)
    assert masked.content_hash != first.content_hash
    assert masked.model.removal == "mask"
    assert {"text/templates", "sst2/bert2", "agnews/bert6"} <= set(problem_names())


def test_files_of_texts_are_read_by_their_ending(tmp_path):
    table = tmp_path / "mine.csv"
    table.write_text('text,label\n"good, film",pos\ndull,neg\n')
    found = read_texts(table)
    assert (found.texts, found.labels, found.classes) == (
        ["good, film", "dull"],
        [1, 0],
        ("neg", "pos"),
    )
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text('{"premise": "a b", "hypothesis": "c"}\n')
    assert read_texts(pairs).texts == [("a b", "c")]
    lines = tmp_path / "lines.txt"
    lines.write_text("one text\nanother\n")
    assert load_texts(str(lines)).texts == ["one text", "another"]
    with pytest.raises(FileNotFoundError, match="none"):
        read_texts(tmp_path / "none.csv")
    (tmp_path / "odd.xls").write_text("x")
    with pytest.raises(ValueError, match=r"\.xls"):
        read_texts(tmp_path / "odd.xls")


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="unknown"):
        text_problem("sst2/bert3")
    with pytest.raises(ValueError, match="unknown"):
        load_texts("sst3")
    with pytest.raises(ValueError, match="part="):
        load_texts("templates", "dev")
    with pytest.raises(ValueError, match="two classes"):
        train_target(
            TextData("none", ["a"], [0], ("x",)), TextData("none", ["a"], [0], ("x",)), None
        )


@pytest.mark.usefixtures("data_folder")
@pytest.mark.parametrize("name", ["sst2", "agnews", "yelp", "snli", "mrpc"])
def test_texts_of_the_data_folder_have_labels_of_their_classes(name):
    for part in ("train", "test"):
        data = load_texts(name, part)
        assert set(data.labels) == set(range(len(data.classes)))
        assert len(data) > 800
        few = data.first(50).dataset()
        assert few.num_rows == 50
        assert "label" in few.column_names
