"""Laws of the estimator grid: its games, its store, and how it judges."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from baselines import TableGame, exact_shapley
from baselines.coalitions import all_coalitions
from bench import estimator_grid
from bench.grid_games import Counted, Net, Table, unanimity_sum
from bench.grid_peers import PEERS
from bench.grid_report import against_best, errors, report
from bench.grid_store import Stored, games_path, load_games, save_games

ROOT = Path(__file__).resolve().parents[1]


def tabulated(game):
    return Table(game(all_coalitions(game.n_players).numpy()))


def small_net():
    draw = np.random.default_rng(0)
    weights = [draw.normal(size=(6, 8)), draw.normal(size=(8, 2))]
    biases = [draw.normal(size=8), draw.normal(size=2)]
    return Net(weights, biases, draw.normal(size=6), np.zeros(6), np.ones(2))


@pytest.mark.parametrize("game", [unanimity_sum(7, 12, 7, 0), small_net()], ids=["terms", "net"])
def test_a_table_explains_as_the_enumeration_of_its_game(game):
    table = tabulated(game)
    values = torch.from_numpy(table.values)[None, :, None]
    exact = exact_shapley(TableGame(values)).values[0, :, 0].numpy()
    np.testing.assert_allclose(table.shapley(), exact, atol=1e-12)
    if not isinstance(game, Net):
        np.testing.assert_allclose(game.shapley(), exact, atol=1e-12)


def test_stored_games_answer_as_before(tmp_path):
    games = [unanimity_sum(6, 9, 4, 1), tabulated(small_net()), small_net()]
    values = np.zeros((3, 6))
    save_games(tmp_path / "games.safetensors", Stored(games, values, values))
    rows = all_coalitions(6).numpy()
    for before, after in zip(games, load_games(tmp_path / "games.safetensors").games, strict=True):
        np.testing.assert_array_equal(before(rows), after(rows))


def test_a_second_run_plays_only_what_is_missing(tmp_path, monkeypatch):
    calls = []

    def contenders():
        def play(games, budget):
            calls.append(budget)
            return np.stack([game.shapley() for game in games]), budget

        return {"ours shapley": play}

    monkeypatch.setattr(estimator_grid, "contenders", contenders)
    monkeypatch.setattr(
        estimator_grid, "grid_games", lambda name, count: [unanimity_sum(6, 9, 4, 1)] * count
    )
    run = ["--folder", str(tmp_path), "--out", str(tmp_path / "page.md"), "--instances", "2"]
    run += ["--problems", "soum16"]
    estimator_grid.main(run)
    assert calls == [30, 120, 600]
    estimator_grid.main(run)
    assert calls == [30, 120, 600]
    (tmp_path / "soum16-2" / "20n-ours_shapley.safetensors").unlink()
    estimator_grid.main([*run, "--again", "nobody"])
    assert calls == [30, 120, 600, 120]
    assert games_path(tmp_path, "soum16", 2).exists()
    assert "Not played: bc30" in (tmp_path / "page.md").read_text()


@pytest.mark.parametrize("name", ["captum KernelShap", "captum ShapleyValueSampling"])
def test_captum_plays_within_its_budget_and_leaves_the_generator(name):
    pytest.importorskip("captum.attr")
    game = Counted(unanimity_sum(6, 9, 3, 2))
    before = torch.random.get_rng_state()
    found = PEERS[name](game, 6, 600, 0)
    assert torch.equal(before, torch.random.get_rng_state())
    assert 590 <= game.count <= 606
    assert np.abs(found - game.game.shapley()).max() < 0.2


def test_the_best_peer_is_not_judged_on_the_games_that_chose_it():
    # each peer is perfect on one half of the games and poor on the other
    even = np.arange(10) % 2 == 0
    cell = {
        "ours shapley": np.full(10, 0.5),
        "lucky on even": np.where(even, 0.0, 1.0),
        "lucky on odd": np.where(even, 1.0, 0.0),
    }
    found = against_best(cell)
    assert found is not None
    own, other, names = found
    np.testing.assert_array_equal(other, 1.0)
    np.testing.assert_array_equal(own, 0.5)
    assert names == "lucky on even or lucky on odd"


def test_errors_take_the_variance_of_the_truth_off():
    exact = np.array([[3.0, 4.0]])
    stored = Stored([], exact, np.full((1, 2), 0.25))
    np.testing.assert_allclose(errors(exact + 1, stored), (2 - 0.5) / 25)


def test_lost_cells_are_printed():
    from bench.grid_store import Played

    stored = {"soum16": Stored([], np.ones((4, 2)), np.zeros((4, 2)))}

    def played(offset):
        return Played(np.ones((4, 2)) + offset, 10, 0.1, {"torch": "2"})

    page = report(stored, {("soum16", 5): {"ours shapley": played(0.2), "peer": played(0.1)}}, "c")
    assert "Lost cells: soum16 5n to peer (4.00)." in page
    assert "**1.00e-02**" in page


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_peers_builds_its_own_environment():
    command = ["make", "-n", "-W", "constraints.txt", "peers", "PEERS_PYTHON=python3"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "-m venv .venv-peers" in told
    assert "shap shapiq captum" in told
    assert "-m bench.estimator_grid" in told
    assert ".venv/bin" not in told
