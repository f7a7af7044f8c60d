"""Laws of the games of the estimator grid: each is its model on spliced rows, and the suite plays them."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from torch import nn
from typer.testing import CliRunner

from baselines.coalitions import all_coalitions
from baselines.randomness import seeded
from bench import estimator_grid, grid_games, grid_networks, grid_peers
from bench.cli import app
from bench.faults import BAD_INPUT
from bench.grid_games import Boxes, Counted, forest_boxes, unanimity_sum


@pytest.fixture
def quick_nets(monkeypatch):
    """Random weights in place of trained ones."""

    def trained(sizes, x, y, seed):
        draw = np.random.default_rng(seed)
        k = 1 if len(np.unique(y)) == 2 else len(np.unique(y))
        widths = (x.shape[1], *sizes, k)
        pairs = list(itertools.pairwise(widths))
        return [draw.normal(size=pair) for pair in pairs], [draw.normal(size=b) for _, b in pairs]

    monkeypatch.setattr(grid_games, "trained_net", trained)


def ends(n):
    return np.stack([np.zeros(n, dtype=bool), np.ones(n, dtype=bool)])


@pytest.mark.parametrize(
    ("name", "n"),
    [("soum16", 16), ("sparse64", 64), ("bc30", 30), ("digits64", 64), ("wide200", 200)],
)
def test_games_are_as_many_as_asked_and_the_same_every_time(name, n, quick_nets):
    first, second = grid_games.grid_games(name, 2), grid_games.grid_games(name, 2)
    assert [game.n_players for game in first] == [n, n]
    rows = np.concatenate([ends(n), np.random.default_rng(0).random((5, n)) < 0.5])
    for one, two in zip(first, second, strict=True):
        values = one(rows)
        np.testing.assert_array_equal(values, two(rows))
        assert len(set(values.round(9))) > 1
    assert not np.array_equal(first[0](rows), first[1](rows))


def test_boxes_of_a_forest_are_its_probability_on_spliced_rows():
    draw = np.random.default_rng(0)
    x, baseline = draw.normal(size=(60, 5)), draw.normal(size=5)
    y = (x[:, 0] * x[:, 1] + x[:, 2] > 0).astype(int)
    forest = RandomForestClassifier(7, random_state=0).fit(x, y)
    boxes = forest_boxes(list(forest.estimators_), x[3], baseline)
    present = all_coalitions(5).numpy()
    spliced = np.where(present, x[3], baseline)
    np.testing.assert_allclose(boxes(present), forest.predict_proba(spliced)[:, 1], atol=1e-9)


def test_the_forest_of_the_grid_is_a_sum_of_boxes():
    (game,) = grid_games.grid_games("forest30", 1)
    assert isinstance(game, Boxes)
    assert game(ends(30)).min() >= -1e-9
    assert game.shapley().sum() == pytest.approx(float(np.diff(game(ends(30)))[0]))


def test_an_unknown_game_is_refused_by_name():
    with pytest.raises(ValueError, match="no problem 'chess'; there are soum16"):
        grid_games.grid_games("chess", 1)


def test_patches_of_a_digit_are_painted_with_the_mean(monkeypatch):
    with seeded(0):
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    monkeypatch.setattr(grid_networks, "_cnn", lambda x, y, mean: model.eval())
    (game,) = grid_networks.patch_games(1)
    assert game.n_players == 16
    effects = np.diff(game(ends(16)))[0]  # a linear model: every patch has the same worth anywhere
    assert game.shapley().sum() == pytest.approx(effects, rel=1e-4)
    alone = game(np.eye(16, dtype=bool)) - game(ends(16))[0]
    np.testing.assert_allclose(game.shapley(), alone, atol=1e-4)


def test_words_of_a_sentence_are_replaced_by_the_mask(monkeypatch, data_folder):
    class Sum(nn.Module):
        """Logits that count what is not masked."""

        def forward(self, input_ids):
            count = (input_ids != grid_networks.MASK).sum(-1).float()
            return type("Answer", (), {"logits": torch.stack([-count, count], -1)})()

    monkeypatch.setattr(grid_networks, "_transformer", lambda ids, labels: Sum())
    (game,) = grid_networks.text_games(1)
    assert game.n_players == grid_networks.WORDS
    np.testing.assert_allclose(game.shapley(), 2.0)


def test_networks_of_the_grid_learn_what_they_are_shown():
    with seeded(0):
        x = torch.rand(32, 1, 8, 8)
    y = (x[:, 0, :4].mean((1, 2)) > x[:, 0, 4:].mean((1, 2))).long()
    first, again = (grid_networks._cnn(x, y, x.mean(0)) for _ in range(2))
    assert not first.training
    assert torch.equal(first(x), again(x))
    ids = [torch.tensor([3 + label, 5, 6]) for label in (0, 1)] * 6
    reader = grid_networks._transformer(ids, torch.tensor([0, 1] * 6))
    assert reader(input_ids=ids[0][None]).logits.shape == (1, 2)


@pytest.fixture
def two_contenders(monkeypatch):
    """A perfect contender and one that answers nothing."""

    def right(games, budget):
        return np.stack([game.shapley() for game in games]), budget

    def zero(games, budget):
        return np.zeros((len(games), games[0].n_players)), 2

    found = {"ours shapley": right, "ours odd_gp": zero}
    monkeypatch.setattr(estimator_grid, "contenders", lambda: found)
    monkeypatch.setattr(
        estimator_grid, "grid_games", lambda name, count: [unanimity_sum(6, 9, 4, 1)] * count
    )


def test_the_suite_of_estimators_runs_and_is_reported(two_contenders, tmp_path):
    words = ["bench", "--suite", "estimators", "--tables", "soum16", "--models", "ours odd_gp"]
    words += ["--seeds", "2", "--out", str(tmp_path), "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout.splitlines()[-1])
    assert {row["budget"] for row in rows} == {30, 120, 600}
    mse = pd.DataFrame(rows).groupby("contender")["mse"].max()
    assert mse["ours shapley"] == pytest.approx(0, abs=1e-20)
    assert mse["ours odd_gp"] == pytest.approx(1)
    told = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert told.exit_code == 0, told.output
    assert "ours shapley" in told.stdout
    page = (tmp_path / "report.html").read_text()
    assert "Suite: estimators" in page
    assert "soum16/100n/ours odd_gp" in page  # where each cell comes from
    assert "6 cells, 6 of them to judge" in done.stderr
    again = CliRunner().invoke(app, words)
    assert "6 cells, all judged" in again.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--tables", "chess"], "problems ['chess']"), (["--models", "deep blue"], "['deep blue']")],
)
def test_the_suite_of_estimators_refuses_by_name(words, said, two_contenders, tmp_path):
    done = CliRunner().invoke(
        app, ["bench", "--suite", "estimators", "--out", str(tmp_path), *words]
    )
    assert done.exit_code == BAD_INPUT
    assert said in done.stderr


def test_ours_play_within_their_budget_and_guests_are_counted(monkeypatch):
    def guess(game, n, budget, seed):
        return np.full(n, float(game(np.ones((1, n)))[0]) / n) + seed

    monkeypatch.setattr(estimator_grid, "installed_peers", lambda: {"guest": guess})
    games = [unanimity_sum(6, 9, 4, seed) for seed in (1, 2)]
    players = estimator_grid.contenders()
    values, spent = players["ours shapley"](games, 64)
    assert spent <= 64
    np.testing.assert_allclose(values, [game.shapley() for game in games], atol=1e-10)
    values, spent = players["guest"](games, 64)
    assert spent == 1
    assert values[1].mean() > values[0].mean()  # each game has a seed of its own


def test_truth_of_a_network_is_sampled_and_says_how_well(monkeypatch, quick_nets):
    monkeypatch.setattr(estimator_grid, "TRUTH_BUDGET", 400)
    stored = estimator_grid.truth(grid_games.grid_games("bc30", 2))
    assert stored.exact.shape == stored.variance.shape == (2, 30)
    assert (stored.variance > 0).any()


def test_peers_are_those_that_are_installed(monkeypatch):
    real = grid_peers.importlib.import_module

    def without(name):
        if name.startswith("shap"):
            raise ImportError(name)
        return real(name)

    monkeypatch.setattr(grid_peers.importlib, "import_module", without)
    assert all(name.startswith("captum") for name in grid_peers.installed_peers())
    monkeypatch.setattr(grid_peers, "PACKAGES", ("numpy", "no such package"))
    assert set(grid_peers.versions()) == {"python", "numpy"}


@pytest.mark.slow  # shap takes long to import
def test_permutations_of_shap_are_right_on_a_sum():
    pytest.importorskip("shap")
    game = Counted(unanimity_sum(5, 6, 1, 0))  # terms of one member: any order tells all
    for name in ("shap PermutationExplainer", "shap KernelExplainer"):
        found = grid_peers.PEERS[name](game, 5, 40, 0)
        np.testing.assert_allclose(found, game.game.shapley(), atol=1e-6)
