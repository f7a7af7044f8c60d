"""Laws of the text suite and of the papers' studies of texts: whoever looks inside, and what pages say."""

import dataclasses
import json

import pytest
import torch

from baselines.text import TextModel
from bench import paper_amortized, paper_text, papers, text_suite
from bench.papers import NOT_AVAILABLE
from bench.problems.catalogue import named_problem
from bench.problems.problem import Problem
from bench.text_bench import Bench
from bench.text_contenders import EmbeddingGradients, by_player, embedding_gradients, word_rollout
from bench.truth import ground_truth
from tests.test_amortized import words
from tests.test_text import text_model


@pytest.fixture(scope="module")
def model() -> TextModel:
    return text_model()


@pytest.fixture(scope="module")
def problem(model) -> Problem:
    return Problem("toy/bert", words(4, seed=3), None, lambda x: model(list(x)), model=model)


@pytest.fixture(scope="module")
def bench(model, tmp_path_factory) -> Bench:
    """A target so small that every study takes a second."""
    folder, given = tmp_path_factory.mktemp("studies"), list(dict.fromkeys(words(90)))
    y = [0, 1, 2] * 8
    made = Bench("templates/bert2", model, given[:40], given[40:62], y[:22], folder, epochs=1)
    made.explainer(made.labels()).save_pretrained(folder / "explainer")
    return made


def logits(model, text, ids) -> torch.Tensor:
    """Of a text whose tokens are replaced."""
    rows = {name: part[None] for name, part in text.inputs.items()} | {"input_ids": ids[None]}
    with torch.no_grad():
        return model.network(**rows, attention_mask=torch.ones_like(ids)[None]).logits[0]


def test_gradients_along_the_line_add_up_to_what_the_words_changed(model, problem):
    found = EmbeddingGradients(model, steps=60).explain(problem.x)
    game = model(problem.x)
    for row, text in enumerate(game.encoded):
        start = torch.where(text.owners >= 0, model.tokenizer.mask_token_id, text.ids)
        change = logits(model, text, text.ids) - logits(model, text, start)
        assert torch.allclose(found.values[row].sum(0), change, atol=2e-2)
    assert found.estimand == "gradient"
    assert found.player_names(0) == game.players[0]


def test_a_line_needs_steps_and_a_place_to_start(model):
    with pytest.raises(ValueError, match="steps=0"):
        EmbeddingGradients(model, steps=0)
    bare = dataclasses.make_dataclass("Bare", [("tokenizer", object)])
    tokens = dataclasses.make_dataclass(
        "Tokens", [("mask_token_id", object), ("pad_token_id", object)]
    )
    with pytest.raises(ValueError, match="neither a mask nor a padding"):
        EmbeddingGradients(bare(tokens(None, None)))


def test_rollout_shares_out_what_the_read_out_token_gathered(model, problem):
    found = word_rollout(problem).explain(problem.x)
    assert found.estimand == "attention"
    assert (found.values >= 0).all()
    assert (found.values.sum(1) <= 1 + 1e-5).all()  # special tokens keep the rest


def test_players_get_the_sum_of_their_tokens_and_special_tokens_go_to_nobody(model):
    (text,) = model(["The film was not good."]).encoded
    values = torch.arange(len(text.ids), dtype=torch.float64)[:, None]
    found = by_player(text, values)[:, 0]
    wanted = [values[text.owners == i].sum() for i in range(len(text.players))]
    assert found.tolist() == wanted


def test_who_looks_inside_refuses_a_rule():
    rule = named_problem("text/templates", b=2)
    with pytest.raises(TypeError, match="no text model to look inside"):
        embedding_gradients(rule)


def test_every_explainer_of_the_suite_is_judged_by_what_fits_it(problem, monkeypatch):
    truth = ground_truth(problem)
    monkeypatch.setattr(text_suite, "_judged", lambda name: (problem, truth))
    shapley = {"permutation@50", "kernel-shap@200"}
    inside = {"integrated-gradients", "attention-rollout"}
    for name in (*shapley, "lime@200", "occlusion", *inside):
        found = text_suite.judge("toy/bert", name, 0)
        assert ("mse" in found) == ("spearman" in found) == (name in shapley)
        assert {"insertion", "deletion", "ms_per_text"} <= set(found)
        assert ("evaluations" in found) == (name not in inside)  # who asks no game is not counted
        assert set(found) <= set(text_suite.MEASURES)


def test_a_rule_has_nothing_inside_to_look_at():
    assert text_suite.judge("text/templates", "attention-rollout", 0) == {}
    assert text_suite.judge("text/templates", "permutation@50", 0)["ceiling"] == 1


def test_the_page_of_texts_leaves_out_who_was_not_judged(tmp_path):
    plan = text_suite.plan_text(
        tmp_path,
        problems=["text/templates"],
        explainers=["occlusion", "permutation@50", "attention-rollout"],
        seeds=1,
    )
    text_suite.run_text(plan, progress=False)
    page = text_suite.text_page(text_suite.text_frame(plan), {"commit": "abc"}, "the command")
    assert page.index("| permutation@50 | 0.0") < page.index("| occlusion | - |")
    assert "attention-rollout |" not in page
    assert "`the command`, commit abc" in page
    with pytest.raises(ValueError, match="'magic'"):
        text_suite.plan_text(tmp_path, explainers=["magic"])


def test_studies_answer_and_hold_their_laws(bench):
    quality = paper_text.quality(bench)
    assert quality["texts"] == 40
    errors = [quality["direct"][pairs]["mse"] for pairs in (1, 8)]
    assert errors[1] < errors[0]
    assert quality["worth"]["pairs"] == pytest.approx(
        quality["worth"]["pair_variance"] / quality["amortized"]["mse"]
    )
    assert 0 <= quality["intervals"]["coverage_90"] <= 1
    masked = paper_text.masking(bench, shares=(0.2, 1.0))
    assert masked["truth"][1.0] == masked["random"][1.0]  # nobody is left to tell them apart
    with pytest.raises(ValueError, match="labelled"):
        paper_text.masking(dataclasses.replace(bench, y=None))
    stable = paper_text.stability(bench, seeds=2)
    assert len(stable["runs"]) == stable["seeds"] == 2
    assert -1 <= stable["spearman_between_seeds"] <= 1
    learned = paper_text.learning(bench, shares=(0.5, 1.0))
    assert [one["texts"] for one in learned.values()] == [20, 40]
    brief = dataclasses.replace(bench, steps=2)
    halves = paper_text.split(brief, budget=80, seeds=1)
    assert [one["texts"] for one in halves.values()] == [80, 20, 5]


def test_the_command_writes_each_study_it_is_asked_for(bench, monkeypatch, capsys):
    asked = []

    def load(name, out, *, texts, least, **words):
        asked.append((name, texts, least))
        return bench

    monkeypatch.setattr(paper_text, "load_bench", load)
    monkeypatch.setitem(paper_text.STUDIES, "energy", lambda given: {"epochs seen": given.epochs})
    paper_text.main(["energy", "--target", "agnews/bert2", "--texts", "5", "--epochs", "3"])
    assert asked == [("agnews/bert2", 5, 8)]
    kept = json.loads((bench.folder / "energy.json").read_text())
    assert kept["epochs seen"] == kept["epochs"] == 3
    assert kept["target"] == "agnews/bert2"
    assert json.loads(capsys.readouterr().out)["study"] == "energy"
    with pytest.raises(SystemExit):
        paper_text.main(["magic"])


@pytest.fixture
def told(monkeypatch) -> list[str]:
    """Studies that answer at once, and which of them were asked."""
    asked: list[str] = []
    mark = {"mse": 0.5, "spearman": 0.75}
    answers = {
        "quality": {
            "ceiling": 0.9,
            "scale": 2.0,
            "amortized": mark,
            "direct": {"1": {"mse": 1.0}, "4": {"mse": 0.25}},
            "worth": {"players": 5.0, "evaluations": 30.0},
        },
        "speed": {"speed_up_pass_1": 27.0, "speed_up_pass_64": 272.0, "pass_1": 0.002},
        "stability": {"spearman_between_seeds": 0.6, "sensitivity": 0.3, "one_pair": mark},
        "energy": {
            "evaluations": 2000,
            "flops": {"pass": 1.0, "sampler": 9.0, "equal_error": 3.0},
            "joules": {"pass": "not measurable", "sampler": 2.5},
            "training_flops": {"labels": 10.0, "steps": 20.0},
            "break_even": {"sampler": 3.75, "equal_error": 15.0},
        },
        "calibration": {
            "learned_from": 30,
            "splits": 2,
            "features": {
                "one pass": {
                    "accuracy": 0.9,
                    "right_at_25": 1.0,
                    "right_at_50": 0.95,
                    "auroc": 0.8,
                    "auroc_se": 0.01,
                    "evaluations": 0,
                }
            },
        },
    }

    def study(name):
        def run(made):
            asked.append(name)
            return answers[name]

        return run

    for name in answers:
        monkeypatch.setitem(paper_text.STUDIES, name, study(name))
    monkeypatch.setattr("bench.text_bench.load_bench", lambda *_, **__: None)
    return asked


def line(page: str, start: str) -> list[str]:
    found = next(line for line in page.splitlines() if line.startswith(f"| {start}"))
    return [cell.strip() for cell in found.strip("| ").split("|")]


def test_speed_ups_stand_beside_the_published_one_and_nothing_is_invented(told, tmp_path):
    page = papers.write_paper("yang2023", tmp_path, command="harsanyi paper yang2023").read_text()
    assert line(page, "templates/bert2 | speed-up, batch of 64")[2:] == ["up to 60", "272"]
    assert line(page, "templates/bert2 | ms per text")[2:] == ["milliseconds", "2"]
    assert line(page, "templates/bert2 | Spearman to truth")[2:] == [NOT_AVAILABLE, "0.75"]
    assert "harsanyi paper yang2023" in page
    assert told == ["quality", "speed", "stability"]
    again = papers.write_paper("yang2023", tmp_path).read_text()
    assert told == ["quality", "speed", "stability"]  # kept, not made again
    assert line(again, "templates/bert2 | speed-up, batch of 1")[3] == "27"


def test_the_curve_of_sampling_says_where_one_pass_crosses_it(told, tmp_path):
    page = papers.write_paper("empirical", tmp_path, full=True).read_text()
    for target in paper_amortized.FULL_TARGETS:
        four = line(page, f"{target} | 4 pairs of orders")
        assert four[2:] == ["34", NOT_AVAILABLE, "0.125"]  # 2 x 4 x (5 - 1) + 2 evaluations
        assert line(page, f"{target} | one pass of the explainer")[4] == "0.25"
        assert line(page, f"{target} | where the two cross")[2] == "30"
        assert line(page, f"{target} | sampler, 2,000")[3:] == ["9", "2.5", "3.75"]
        assert line(page, f"{target} | one pass | 0")[4:6] == ["0.800 (0.010)", "90.00 %"]
