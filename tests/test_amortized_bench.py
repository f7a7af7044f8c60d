"""Laws of amortized explainers in the harness: judged like any other, and reachable by command."""

import json
import shutil

import pytest
import torch
from typer.testing import CliRunner

from amortized import LabelStore
from bench import evaluate
from bench.amortized_contender import amortized, amortized_on, training_examples
from bench.cli import app
from bench.problems.problem import Problem
from bench.truth import ground_truth
from tests.label_games import some_rows, triple_games
from tests.test_amortized import words
from tests.test_text import classifier, wordpiece


def problem(**words) -> Problem:
    return Problem("triples", some_rows(40, seed=5), None, triple_games(), scale="value", **words)


def test_an_amortized_contender_is_judged_like_any_other() -> None:
    judged = problem(background=some_rows(400))
    truth = ground_truth(judged)
    given = {"progress": False, "epochs": 40}
    plain = evaluate(amortized_on(some_rows(400), **given), judged, truth)
    refined = evaluate(amortized_on(some_rows(400), refine=2, **given), judged, truth)
    assert refined.mean("squared_error") < plain.mean("squared_error")
    assert plain.facts["evals_claimed"] == 0
    assert refined.facts["evals"] == refined.facts["evals_claimed"] == 22


def test_a_problem_without_examples_says_what_to_do() -> None:
    with pytest.raises(ValueError, match="amortized_on"):
        amortized(problem())
    assert len(training_examples(problem(background=some_rows(7)))) == 7


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    folder = tmp_path_factory.mktemp("target")
    classifier().save_pretrained(folder)
    wordpiece().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("texts") / "texts.tsv"
    lines = ["text", *dict.fromkeys(words(60))]
    path.write_text("\n".join(lines) + "\n")
    return path


def run(*arguments) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(word) for word in arguments])
    return done.exit_code, done.stdout


def test_an_explainer_is_trained_and_explains_by_command(target, file, tmp_path) -> None:
    out = tmp_path / "explainer"
    code, said = run(
        "train", "explainer", file, "--target-model", target, "--out", out, "--epochs", 2, "--json"
    )
    assert code == 0, said
    facts = json.loads(said.splitlines()[-1])
    assert facts["measures"]["objective"] == "nll"
    page, values = tmp_path / "page.html", tmp_path / "said.safetensors"
    code, said = run(
        "explain", out, "--text", "the film was dull", "--refine", 1, "--html", page,
        "--out", values, "--json",
    )  # fmt: skip
    assert code == 0, said
    facts = json.loads(said.splitlines()[-1])
    assert facts["exact"] is False
    assert {name for name, _ in facts["top"][0]} <= {"the", "film", "was", "dull"}
    assert page.is_file()
    assert values.is_file()
    assert facts["cut"] == 0
    code, said = run("explain", out, "--text", "the film was dull " * 20)
    assert "1 of 1 texts are longer than the model reads, and were cut" in said
    code, said = run("train", "explainer", file, "--out", out)
    assert code == 2


def test_labels_are_planned_made_and_checked_by_command(target, file, tmp_path) -> None:
    folder = tmp_path / "labels"
    words = ("--target-model", target, "--pairs", 2, "--shard-size", 16)
    code, said = run("truth", "plan", folder, file, *words)
    assert code == 0
    assert "evaluations" in said
    assert "hours" in said
    assert not (folder / "pass-000" / "shards").exists()  # it stops without --yes
    assert run("truth", "check", folder)[0] == 3
    assert run("truth", "run", folder, "--json")[0] == 0
    assert run("truth", "check", folder)[0] == 0
    next((folder / "pass-000" / "shards").iterdir()).unlink()
    assert run("truth", "check", folder)[0] == 3
    whole = tmp_path / "whole"
    assert run("truth", "plan", whole, file, *words, "--yes", "--json")[0] == 0
    assert run("truth", "check", whole)[0] == 0
    assert run("truth", "run", folder, "--json")[0] == 0
    assert run("truth", "check", folder)[0] == 0
    ours, theirs = (LabelStore(path).labels() for path in (folder, whole))
    assert torch.equal(ours.values, theirs.values)


def test_a_store_whose_model_changed_is_not_continued(target, file, tmp_path) -> None:
    copy = tmp_path / "target"
    shutil.copytree(target, copy)
    folder = tmp_path / "labels"
    assert run("truth", "plan", folder, file, "--target-model", copy)[0] == 0
    other = classifier()
    with torch.no_grad():
        other.classifier.bias += 1.0
    other.save_pretrained(copy)
    assert run("truth", "run", folder, "--json")[0] == 2
