"""Laws of problems by name: the data folder, a user's file, the hub, pictures, and guests."""

import importlib.metadata

import numpy as np
import pandas as pd
import pytest
import torch

from baselines import TableGame, exact_shapley
from bench import contender_table, contenders, evaluate, ground_truth, leaderboard, sampled
from bench.problems import sources
from bench.problems.catalogue import named_problem, problem_names
from bench.problems.problem import Problem


@pytest.fixture
def csv(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=90), "w": rng.choice(list("xyz"), 90)})
    frame["y"] = np.where(frame["a"] + (frame["w"] == "x") > 0, "yes", "no")
    frame.to_csv(tmp_path / "mine.csv", index=False)
    return tmp_path / "mine.csv"


@pytest.mark.parametrize("ending", ["", "/mlp", "/logistic/marginal", "/boosted/baseline@2"])
def test_a_users_file_is_a_problem_by_its_name(csv, ending):
    problem = named_problem(f"{csv}:y{ending}", b=4)
    assert len(problem) == 4
    assert problem.players == ("a", "w")
    assert problem.modality == "tabular"
    again = named_problem(f"{csv}:y{ending}", b=4)
    assert again.content_hash == problem.content_hash
    row = leaderboard([evaluate(sampled("exact_shapley"), problem, ground_truth(problem))]).iloc[0]
    assert row.mse < 1e-20
    assert row.value_function == type(problem.imputer).__name__


def test_a_hub_data_set_is_read_through_datasets(monkeypatch, csv):
    import datasets

    asked = {}

    def load_dataset(name, revision=None):
        asked.update(name=name, revision=revision)
        return datasets.DatasetDict({"train": datasets.Dataset.from_pandas(pd.read_csv(csv))})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    sources.table_by_name.cache_clear()
    problem = named_problem("hub:someone/table@main:y/logistic", b=3)
    assert asked == {"name": "someone/table", "revision": "main"}
    assert problem.players == ("a", "w")


def test_a_hub_data_set_out_of_reach_says_what_to_do(monkeypatch):
    import datasets

    def offline(name, revision=None):
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(ValueError, match="pass the path of a file"):
        sources.table_by_name("hub:some/where:y")


@pytest.mark.parametrize("name", ["magic/nothing", "no.csv", "file.txt:y", "hub:", "mnist/patch"])
def test_unknown_problems_are_refused_by_name(name):
    with pytest.raises(ValueError, match="unknown"):
        named_problem(name)


def test_a_file_that_is_not_there_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        named_problem(f"{tmp_path / 'none.csv'}:y")


def test_nhanes_counts_deaths_within_ten_years(data_folder):
    table = sources.table_by_name("nhanes")
    assert set(table.y) == {"died", "lived"}
    assert len(table.y) == len(table.X) > 5_000
    assert "left out" in table.notes
    assert "nhanes/mlp/baseline" in problem_names()


def test_patches_of_pictures_are_players():
    problem = named_problem("digits/patches", b=2)
    assert problem.modality == "image"
    game = problem.game()
    assert (game.n_players, game.n_outputs) == (16, 10)
    everyone = torch.ones(1, 1, 16, dtype=torch.bool)
    assert torch.allclose(game(everyone)[:, 0], problem.model(problem.x), atol=1e-5)
    right = (problem.model(problem.x).argmax(1).numpy() == problem.y).mean()
    assert right >= 0.5


class Entry:
    """An entry point of an installed package."""

    def __init__(self, name, made):
        self.name, self.made = name, made

    def load(self):
        return self.made


def guest_problem():
    values = torch.randn(2, 8, 1, generator=torch.Generator().manual_seed(0)).double()
    return Problem(
        "guest", torch.arange(2), None, lambda x: TableGame(values[x]), task="game", scale="value"
    )


def test_installed_packages_add_contenders_and_problems(monkeypatch):
    groups = {
        "harsanyi.contenders": [Entry("theirs", sampled(exact_shapley))],
        "harsanyi.problems": [Entry("their-game", guest_problem)],
    }
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: groups[group])
    problem = named_problem("their-game")
    found = evaluate(contender_table()["theirs"], problem, ground_truth(problem), name="theirs")
    assert leaderboard([found]).iloc[0].mse < 1e-24
    groups["harsanyi.contenders"] = [Entry("itself", None)]
    with pytest.raises(ValueError, match="rename it"):
        contenders.contender_table()


def test_outputs_of_a_box_bear_the_names_of_its_classes():
    assert named_problem("breast-cancer/logistic", b=2).game().outputs == ("1",)
    assert named_problem("digits/logistic", b=2).game().outputs == tuple("0123456789")
    assert named_problem("diabetes/boosted", b=2).game().outputs is None
