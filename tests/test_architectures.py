"""Laws of the comparison of architectures: prices are paired, explanations judged on their game."""

import dataclasses
import time

import numpy as np
import pandas as pd
import pytest
import torch

from baselines.exact import exact_shapley
from bench.advice import which_method
from bench.architecture_suite import architecture_job, installed, judge_architecture, losses
from bench.architecture_tables import price_interval, summary, summary_page, with_prices
from bench.architectures import ARCHITECTURES, Effort, Fold, shown_players
from bench.pictures import price_plot
from bench.problems.tabular import Table
from bench.report_tables import architecture_table, measures_table, provenance_table
from bench.smoke import EFFORT
from bench.standings import leaderboard


def table(task="classification", rows=160, n=4):
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.standard_normal((rows, n)), columns=list("abcdefgh")[:n])
    score = 2 * X["a"] - X["b"] * X["c"]
    y = score.to_numpy() if task == "regression" else np.where(score > 0, "yes", "no")
    return Table("toy", X, y, task)


def fold(task="classification", **words):
    effort = dataclasses.replace(EFFORT, nulls=False, **words)
    rows = np.arange(160)
    return Fold(table(task), rows[:120], rows[120:], 0, effort)


@pytest.fixture(scope="module")
def judged():
    """Two folds of the cheapest architectures."""
    words = {"effort": dataclasses.replace(EFFORT, nulls=False), "loader": lambda name: table()}
    job = architecture_job(("toy",), ("sampling", "ebm"), 2, command="c", **words)
    return [(cell, job.judge(cell)) for cell in job.cells]


def test_losses_are_one_less_accuracy_or_r2():
    truth, answers = np.array(["a", "b", "b"]), np.array(["a", "a", "b"])
    assert 1 - losses("classification", truth, answers).mean() == pytest.approx(2 / 3)
    from sklearn.metrics import r2_score

    y, said = np.array([1.0, 2.0, 4.0]), np.array([1.5, 2.0, 3.0])
    assert 1 - losses("regression", y, said).mean() == pytest.approx(r2_score(y, said))


def test_a_price_is_paired_and_folds_widen_it():
    rng = np.random.default_rng(0)
    hard = rng.random(500) < 0.3  # rows that both get wrong cost nothing
    one = price_interval([np.where(hard, 0.0, rng.random(500) < 0.05).astype(float)])
    assert one.low <= one.value <= one.high
    assert one.high - one.low < 0.05
    folds = price_interval([np.full(50, 0.0), np.full(50, 0.2), np.full(50, 0.1)])
    assert folds.value == pytest.approx(0.1)
    assert folds.low < 0 < folds.high  # three folds that disagree say little
    two = price_interval([np.full(50, 0.1), np.full(50, 0.3)])
    assert (
        0.1 < two.low < two.value == pytest.approx(0.2)
    )  # over rows: two have no spread to go by


def test_boosted_terms_are_exact_for_their_own_game():
    pytest.importorskip("interpret")
    for task in ("classification", "regression"):
        one = fold(task)
        trained = ARCHITECTURES["ebm"](one)
        problem = trained.problem(one.test[:4])
        truth = exact_shapley(problem.game())
        found = problem.model.explain(problem.x)
        assert found.exact
        assert torch.allclose(found.values, truth.values, atol=1e-10)
        whole = found.base_values + found.values.sum(1)
        assert np.allclose(whole, problem.model.logits(problem.x), atol=1e-10)
        assert float(found.diagnostics["order_spectrum"].sum()) == pytest.approx(1)


def test_every_row_of_the_leaderboard_has_a_price_against_the_same_rows(judged):
    board = leaderboard(with_prices(judged))
    assert board["price"].notna().all()
    assert (board[board["method"] == "sampling"]["price"] == 0).all()
    for row in board.to_dict("records"):
        gap = row["reference_score"] - row["model_score"]
        assert row["price"] == pytest.approx(gap)
    frame = summary(judged)
    assert set(frame["method"]) == {"sampling", "ebm"}
    assert frame.set_index("method").loc["ebm", "nrmse"] < 1e-9


def test_tables_and_pictures_of_architectures_say_what_was_measured(judged):
    frame, board = summary(judged), leaderboard(with_prices(judged))
    page = summary_page(frame, {"commit": "abc"}, "harsanyi bench")
    assert "| ebm | own |" in page
    assert "harsanyi bench" in page
    drawn = architecture_table(frame)
    assert [row[0].text for row in drawn.rows] == list(frame["method"])
    assert len(price_plot(frame).lines) == 1 + 2 * len(frame)
    assert {row[2].text for row in provenance_table(board).rows} == {"c"}
    more = measures_table(board)
    assert more is not None
    headings = {heading for _, heading, _ in more.columns}
    assert {"deletion, own", "deletion, baseline", "deletion, marginal", "leak"} <= headings
    advice = {row[0].text: row[1].text for row in which_method(board, frame).rows}
    assert advice["I may choose the model, and want exact values with it"] == "ebm"


def test_what_the_truths_noise_hides_is_marked_and_no_box_has_a_price(judged):
    frame = summary(judged).assign(at_floor=[False, True], nrmse=[0.2, 0.009])
    page = summary_page(frame, {}, "c")
    assert "| 0.009 * |" in page
    assert "| 0 | 0.2 |" in page  # sampling explains the box: its price is none, its error shown
    notes = architecture_table(frame).note
    assert "not told apart from 0" in notes
    words = [text.get_text() for text in price_plot(frame).texts]
    assert any("no error found" in word for word in words)
    assert "judged at commit" in page


def test_advice_invents_nothing(judged):
    board = leaderboard(with_prices(judged))
    needs = [row[0].text for row in which_method(board).rows]
    assert not [need for need in needs if "choose the model" in need]
    assert which_method(board.iloc[:0]).rows == []


def test_selectors_show_their_own_selection_and_others_their_largest_values():
    one = fold()
    trained = ARCHITECTURES["ebm"](one)
    problem = trained.problem(one.test[:6])
    found = problem.model.explain(problem.x)
    shown = shown_players(trained, found, 2)
    assert (shown.sum(1) == 2).all()
    sizes = found.values[..., 0].abs().numpy()
    assert (sizes[shown].reshape(6, 2).min(1) >= np.where(shown, 0, sizes).max(1)).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_is_judged_on_numbers_too(name):
    """On labels the smoke suite judges them."""
    found = judge_architecture(fold("regression"), name, "c")
    row = leaderboard([found.evaluation]).iloc[0]
    assert np.isfinite(row.model_score)
    assert np.isfinite(row.masked_score)
    assert row.command == "c"
    assert len(found.answers["loss"]) == 40
    if name in ("harsanyi", "chen2023", "ebm"):
        assert row.explains == "own"
        assert row.nrmse < 1e-5
    assert (row.evals > 0) or name in ("lex", "l2x", "invase", "realx")


def test_a_missing_library_costs_one_architecture_and_not_the_run(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert set(ARCHITECTURES) - set(installed()) == {"ebm"}
    assert "harsanyi[interpret]" in capsys.readouterr().err


def test_training_is_counted_in_seconds_of_the_processor_and_sleep_costs_none(monkeypatch):
    from bench import architectures

    whole = architectures.fit_box
    monkeypatch.setattr(
        architectures, "fit_box", lambda *a, **words: (time.sleep(0.5), whole(*a, **words))[1]
    )
    one = fold()
    wall = time.perf_counter()
    assert one.box is not None
    assert one.box_seconds < time.perf_counter() - wall - 0.4


def test_unknown_architectures_are_refused_by_name():
    with pytest.raises(ValueError, match="'magic'"):
        architecture_job(("toy",), ("magic",), effort=Effort())
