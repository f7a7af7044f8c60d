"""Laws of what the harness offers by name: what it lacks is refused by name, what it has answers."""

import dataclasses
import json
import re

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from baselines.explanation import Explanation
from bench import amortized_contender, gradient_table, metrics, text_nets
from bench.cli import app
from bench.faults import BAD_INPUT
from bench.problems import text_templates
from bench.problems.catalogue import named_problem
from bench.problems.image_boxes import image_problem
from bench.problems.models import coded, fit_box
from bench.problems.tabular import Table, load, split
from bench.problems.text import target_problem
from bench.problems.text_data import TextData
from bench.problems.text_targets import TextRows, text_target
from bench.truth import stack
from tests.test_text import classifier, wordpiece


def table(rows: int = 30) -> Table:
    X = pd.DataFrame({"a": np.arange(float(rows)), "b": np.arange(rows) % 3})
    return Table("t", X, np.arange(rows) % 2, "classification", None)


UNKNOWN = {
    "a model": (lambda: fit_box("oracle", table(), np.arange(30)), "model 'oracle'"),
    "pictures": (lambda: image_problem("images/monet"), "image problem 'images/monet'"),
    "a target": (lambda: text_target("sst2/bert9"), "target 'sst2/bert9'"),
    "nothing to stack": (lambda: stack([]), "explanations is empty"),
    "the top none": (
        lambda: metrics.top_k(*[Explanation(torch.ones(1, 2, 1), exact=True)] * 2, k=0),
        "k=0",
    ),
    "pairs for a rival": (
        lambda: text_nets._train_rival(
            "bag", TextData("pairs", [("a", "b")], [0], ("no", "yes")), 0, 0.0, {}
        ),
        "pairs has pairs of texts; bag takes single ones",
    ),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_what_the_harness_lacks_is_refused_by_name(case):
    call, said = UNKNOWN[case]
    with pytest.raises(ValueError, match=re.escape(said)):
        call()


def test_more_sentences_than_there_are_cannot_be_had(monkeypatch):
    clause = text_templates._clause(np.random.default_rng(0))
    monkeypatch.setattr(text_templates, "_clause", lambda rng: list(clause))
    with pytest.raises(ValueError, match=r"size=9; the templates give about [0-3] sentences"):
        text_templates.template_texts(9)


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--models", "sum,oracle"], "models ['oracle']"), (["--sets", "monet"], "sets ['monet']")],
)
def test_a_study_of_text_nets_names_what_it_lacks(words, said, tmp_path, capsys):
    with pytest.raises(SystemExit):
        text_nets.main(["--out", str(tmp_path / "run"), *words])
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"estimator": {"kind": "Oracle"}}, "is of a 'Oracle'; explain reads"),
        ({"estimator": {}}, "is damaged or not of a model for tables"),
    ],
)
def test_a_folder_of_another_model_is_not_explained_with(config, said, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config))
    rows = tmp_path / "rows.csv"
    rows.write_text("a\n1\n")
    done = CliRunner().invoke(app, ["explain", str(tmp_path), str(rows)])
    assert done.exit_code == BAD_INPUT
    assert said in done.stderr


def test_pairs_of_texts_are_read_as_pairs():
    rows = TextRows(wordpiece(), TextData("two", [("good film", "bad"), ("a", "b")], [0, 1], ()))
    assert len(rows) == 2
    batch = rows[torch.tensor([0, 1])]
    first = wordpiece()("good film", "bad")["input_ids"]
    assert batch["input_ids"][0].tolist() == first
    assert batch["labels"].tolist() == [0, 1]


def test_every_gradient_has_its_row_and_an_unbiased_one_says_so(monkeypatch):
    toy = gradient_table.fitted_toy(steps=20)
    monkeypatch.setattr(gradient_table, "fitted_toy", lambda *_, **__: toy)
    page = gradient_table.page(800)
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| ")]
    named = {row[0].strip("| "): row for row in rows}
    assert set(gradient_table.CASES) <= set(named)
    for name, case in gradient_table.CASES.items():
        assert named[name][1] == ("yes" if case.unbiased else "no")
    assert float(named["enumeration"][3]) < 1e-6
    with pytest.raises(RuntimeError, match="does not depend on the logits"):
        gradient_table._grad(torch.zeros(2, requires_grad=True))


def test_examples_to_train_on_are_never_those_that_are_judged(monkeypatch):
    texts = ["good film", "\u200b", "bad film", "a plot"]
    monkeypatch.setattr(
        "bench.problems.text_data.load_texts", lambda name: TextData(name, texts, [0, 1, 0, 1], ())
    )
    networked = dataclasses.make_dataclass("Networked", [("network", int)])
    problem = dataclasses.replace(
        named_problem("synthetic/glove", b=1), name="sst2/bert2", x=["bad film"], content_hash="h"
    )
    problem = dataclasses.replace(problem, model=networked(0))
    assert sorted(amortized_contender.training_examples(problem)) == ["a plot", "good film"]


def test_texts_of_nothing_that_is_seen_are_left_out_of_a_problem(tmp_path):
    classifier().save_pretrained(tmp_path)
    wordpiece().save_pretrained(tmp_path)
    texts = TextData("mine", ["\u200b", "good film", " "], [0, 1, 0], ("no", "yes"))
    problem = target_problem("mine", tmp_path, texts)
    assert problem.x == ["good film"]
    assert problem.y == [1]
    with pytest.raises(ValueError, match="data 'mine' has no text with a word in it"):
        target_problem("mine", tmp_path, TextData("mine", ["\u200b", " "], None, ()))


def test_a_table_of_the_suite_is_learned_from_its_training_rows():
    problem = dataclasses.replace(
        named_problem("synthetic/glove", b=1), name="diabetes/mlp@3", content_hash="h"
    )
    found = amortized_contender.training_examples(problem, most=7)
    wanted = coded(load("diabetes"))[split(load("diabetes"), 3).train[:7]]
    assert found.numpy() == pytest.approx(wanted, nan_ok=True)
