"""Laws of the text suite: cells that can be resumed, and explainers that look inside."""

import pytest
import torch

from bench.problems.text_templates import TemplateGame
from bench.registry import SUITES, finish_suite
from bench.text_contenders import EmbeddingGradients, WordRollout, by_player
from bench.text_suite import MEASURES, judge, plan_text
from tests.test_text import TEXTS, text_model


def test_the_suite_judges_a_known_rule_and_leaves_a_page(tmp_path):
    assert "text" in SUITES
    frame, page = finish_suite(
        "text", tmp_path, tables="text/templates", models="permutation@200,occlusion", seeds=2
    )
    assert len(frame) == 4
    assert set(MEASURES) <= set(frame.columns)
    sampled = frame[frame["explainer"] == "permutation@200"]
    assert (sampled["spearman"] > 0.9).all()
    assert (sampled["mse"] < 0.05).all()
    assert sampled["deletion"].mean() < sampled["insertion"].mean()
    other = frame[frame["explainer"] == "occlusion"]
    assert other["mse"].isna().all()  # occlusion stands for something else
    assert other["deletion"].notna().all()
    assert "permutation@200" in page.read_text()
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    again, _ = finish_suite(
        "text", tmp_path, tables="text/templates", models="permutation@200,occlusion", seeds=2
    )
    assert again.equals(frame)
    assert stamps == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}


def test_what_looks_inside_a_model_has_no_cell_on_a_rule():
    assert judge("text/templates", "attention-rollout", 0) == {}
    assert judge("text/templates", "amortized", 0) == {}


def test_unknown_problems_and_explainers_are_refused(tmp_path):
    with pytest.raises(ValueError, match="sst3"):
        plan_text(tmp_path, problems=["sst3/bert2"])
    with pytest.raises(ValueError, match="guess"):
        plan_text(tmp_path, explainers=["guess"])


def test_integrated_gradients_by_words_add_up_to_what_the_text_adds_to_masks():
    model = text_model(removal="mask", players="word")
    e = EmbeddingGradients(model, steps=400).explain(TEXTS)
    game = model(TEXTS)
    everyone = torch.ones(1, 1, game.n_players, dtype=torch.bool)
    rise = (game(everyone) - game(~everyone))[:, 0]
    torch.testing.assert_close(e.values.sum(1), rise, atol=0.02, rtol=0.02)
    assert e.estimand == "gradient"
    assert e.player_names(1) == ("Dull!",)
    assert (e.values[~game.player_mask] == 0).all()


def test_rollout_by_words_is_a_share_of_attention():
    model = text_model(players="word")
    e = WordRollout(model).explain(TEXTS)
    assert e.estimand == "attention"
    assert e.shape == (3, 8, 1)
    total = e.values.sum(1)
    assert (total > 0).all()
    assert (total < 1).all()  # special tokens keep the rest


def test_a_players_number_is_the_sum_over_its_tokens():
    (text,) = text_model(players="word").encode("an unbelievable film")
    values = torch.arange(7.0)[:, None]
    assert by_player(text, values)[:, 0].tolist() == [1.0, 2.0 + 3.0 + 4.0, 5.0]
    assert TemplateGame(["the film was good"]).n_players == 4
