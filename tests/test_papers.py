"""Laws of the paper tables: published samplers are what they say, unread figures are not invented."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from bench import paper_harsanyinet as net
from bench import paper_lex, papers
from bench.cli import app
from bench.faults import BAD_INPUT


def games(b=3, n=5, k=2):
    rng = np.random.default_rng(0)
    return rng.standard_normal((b, 2**n, k))


@pytest.mark.parametrize("sampler", ["sampling", "antithetic"])
def test_orders_are_unbiased(sampler):
    values = games()
    truth = net.exact(values)
    rng = np.random.default_rng(1)
    found = np.stack([net.sample(sampler, values, 8, rng) for _ in range(3000)])
    z = (found.mean(0) - truth) / (found.std(0) / np.sqrt(len(found)))
    assert np.abs(z).max() < 4


@pytest.mark.parametrize("sampler", net.SAMPLERS)
def test_more_runs_err_less(sampler):
    values = games()
    truth, errors = net.exact(values), []
    for runs in (20, 2000):
        rng = np.random.default_rng(2)
        errors.append(
            np.mean([net.rmse(net.sample(sampler, values, runs, rng), truth) for _ in range(5)])
        )
    assert errors[1] < 0.25 * errors[0]


@pytest.mark.parametrize("sampler", net.SAMPLERS)
@pytest.mark.parametrize("runs", [1, 3])
def test_fewer_runs_than_players_still_answer(sampler, runs):
    found = net.sample(sampler, games(), runs, np.random.default_rng(0))
    assert np.isfinite(found).all()
    assert found.shape == (3, 5, 2)


@pytest.mark.parametrize("sampler", net.SAMPLERS)
def test_an_additive_game_is_solved_by_one_order_or_enough_coalitions(sampler):
    players = np.array([1.0, -2.0, 0.5, 3.0])
    masks = (np.arange(16)[:, None] >> np.arange(4)) & 1
    values = (masks @ players)[None, :, None]
    found = net.sample(sampler, values, 60, np.random.default_rng(0))
    np.testing.assert_allclose(found[0, :, 0], players, atol=1e-9)


def test_samplers_that_the_paper_lacks_are_refused():
    with pytest.raises(ValueError, match="'magic'"):
        net.sample("magic", games(), 5, np.random.default_rng(0))


def fake_frame(data, columns):
    rows = [{"data": name, "study": "accuracy", "seed": 0} for name in data]
    return pd.DataFrame(rows).assign(**dict.fromkeys(columns, 0.5))


def test_a_published_figure_that_was_not_read_is_not_available(tmp_path, monkeypatch):
    frame = fake_frame(net.DATA, net.MEASURES)
    monkeypatch.setattr(net, "run_paper", lambda *_, **__: frame)
    page = papers.write_paper("harsanyinet", tmp_path, command="harsanyi paper harsanyinet")
    text = page.read_text()
    line = next(line for line in text.splitlines() if line.startswith("| census | HarsanyiNet"))
    assert line == "| census | HarsanyiNet | 84.57 % | 50.00 % | 2.18e-08 | 0.5 |"
    ours = next(line for line in text.splitlines() if line.startswith("| census | ours"))
    assert ours.count("not available") == 2
    shap = next(line for line in text.splitlines() if line.startswith("| yeast | FastSHAP"))
    assert "0.467" in shap
    assert "harsanyi paper harsanyinet" in text
    assert "thousands of inferences" in text


def test_no_published_selection_figure_is_claimed(tmp_path, monkeypatch):
    rows = [
        {"data": data, "imputer": imputer, "seed": 0}
        for data in paper_lex.DATA
        for imputer in paper_lex.IMPUTERS
    ]
    frame = pd.DataFrame(rows).assign(**dict.fromkeys(paper_lex.MEASURES, 0.25))
    monkeypatch.setattr(paper_lex, "run_paper", lambda *_, **__: frame)
    text = papers.write_paper("lex", tmp_path).read_text()
    lines = [line for line in text.splitlines() if line.startswith("| syn")]
    assert len(lines) == len(rows)
    assert all("| not available |" in line for line in lines)


def test_comparisons_of_backgrounds_are_not_made_twice(tmp_path, monkeypatch):
    from bench import paper_cte

    made = []

    def compare(table, kind, **words):
        made.append((table, kind))
        return paper_cte.Comparison(table, kind, 3, 10, {64: 0.2, 128: 0.1}, {64: 0.1}, {})

    monkeypatch.setattr(paper_cte, "compare", compare)
    monkeypatch.setattr(paper_cte, "load", lambda name: name)
    first, _ = paper_cte.resumed(tmp_path, ["a", "b"])
    second, _ = paper_cte.resumed(tmp_path, ["a", "b"])
    assert first == second
    assert len(made) == 4
    assert first[0].gain == pytest.approx(2)


def test_an_unknown_paper_is_refused_by_name():
    done = CliRunner().invoke(app, ["paper", "magic", "--json"])
    assert done.exit_code == BAD_INPUT
    assert "harsanyinet" in json.loads(done.stdout)["error"]


@pytest.mark.slow
def test_every_study_of_the_net_answers_on_few_rows(data_folder):
    budget = net.Budget(150, 2, 3)
    found = {}
    for study in net.STUDIES:
        found |= net.judge_study("tv-news", study, 0, budget)
    assert set(found) == set(net.MEASURES)
    assert all(np.isfinite(value) for value in found.values())
    assert found["rmse_chen2023"] < 1e-5 < found["rmse_deepshap"]
    assert found["runs_sampling_5000"] < found["runs_sampling_10"]


@pytest.mark.slow
@pytest.mark.parametrize("imputer", paper_lex.IMPUTERS)
def test_selections_are_measured_for_every_imputer(imputer):
    found = paper_lex.judge_imputer("syn4", imputer, 0, paper_lex.Budget(200, 50, 1, 1))
    assert set(found) == set(paper_lex.MEASURES)
    assert 0 <= found["tpr_at_k"] <= 1
    assert found["train_seconds"] > 0
