"""Laws of refusals of the harness: what cannot be judged says so, names the thing and what to do."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch
import typer
from typer.testing import CliRunner

from baselines import TableGame
from baselines.explanation import Explanation
from bench import (
    demo,
    evaluate,
    ground_truth,
    leaderboard,
    own_problem,
    paired_difference,
    sampled,
)
from bench.cli import app
from bench.cli_explainer import read as read_explained
from bench.cli_text import _parts
from bench.comparable import NotComparable
from bench.contenders import contender_from, itself
from bench.faults import BAD_INPUT
from bench.judging import judge_problem
from bench.pictures import pareto, price_plot
from bench.problems import tabular
from bench.problems.catalogue import named_problem
from bench.problems.own import OpenGame
from bench.problems.problem import Problem
from bench.problems.tabular import Table, load, split
from bench.problems.text_data import TextData, read_texts
from bench.report import explanation_sections, leaderboard_section
from bench.report_tables import leaderboard_table, measures_table
from bench.sensitivity import max_sensitivity, neighbours


@pytest.fixture(scope="module")
def airport():
    return named_problem("synthetic/airport", b=2)


@pytest.fixture(scope="module")
def judged(airport):
    return evaluate(sampled("kernel_shap", 40)(airport), airport, ground_truth(airport))


class Fixed:
    """Explains every row by the same values."""

    def __init__(self, values: torch.Tensor) -> None:
        self.values = values

    def explain(self, x):
        return Explanation(self.values.expand(len(x), -1, -1))


# Evaluations


def test_an_evaluation_needs_a_run_known_measures_and_an_explanation(airport):
    with pytest.raises(ValueError, match="repeats=0"):
        evaluate(sampled("kernel_shap", 40), airport, repeats=0)
    with pytest.raises(ValueError, match=r"more=\['charm'\]"):
        evaluate(sampled("kernel_shap", 40), airport, more=["charm"])
    speaks = dataclasses.make_dataclass("Speaks", [], namespace={"explain": lambda self, x: "yes"})
    with pytest.raises(TypeError, match=r"returned a str.*baselines\.Explanation"):
        evaluate(speaks(), airport)


def test_a_difference_needs_the_metric_on_both_sides(airport, judged):
    bare = evaluate(sampled("kernel_shap", 40), airport)
    with pytest.raises(ValueError, match="has no 'squared_error'; it has"):
        paired_difference(judged, bare)


def test_a_leaderboard_of_nobody_is_none():
    with pytest.raises(ValueError, match="evaluations is empty"):
        leaderboard([])


def test_a_board_without_truth_says_so_and_draws_nothing(airport):
    board = leaderboard([evaluate(sampled("occlusion"), airport, name="occlusion")])
    assert "No truth was given" in leaderboard_table(board).note
    with pytest.raises(ValueError, match="no contender"):
        pareto(board)
    assert not leaderboard_section(board).pictures
    nothing = board.assign(**{name: np.nan for name in board.columns if board[name].dtype == "f8"})
    assert measures_table(nothing) is None
    frame = pd.DataFrame(
        [{"method": "a", "price": np.nan, "price_lo": np.nan, "price_hi": np.nan}]
    )
    with pytest.raises(ValueError, match="judge the reference too"):
        price_plot(frame.assign(score=0.5, nrmse=0.0))


def test_cells_stand_beside_names_only_where_rows_are_those_explained(judged):
    with_cells = explanation_sections(judged.explanation, pd.DataFrame({"other": [1.0, 2.0]}))
    without = explanation_sections(judged.explanation)
    assert with_cells[0].pictures[0].alt == without[0].pictures[0].alt


# Sensitivity


def test_only_real_numbers_are_moved_and_players_stay():
    with pytest.raises(TypeError, match="no column of real numbers"):
        neighbours(pd.DataFrame({"a": [1, 2]}), 0.1, 0, 0)
    with pytest.raises(TypeError, match=r"tensor of torch\.int64"):
        neighbours(torch.arange(3), 0.1, 0, 0)
    with pytest.raises(TypeError, match="x is a list"):
        neighbours(["a text"], 0.1, 0, 0)
    x = np.zeros((3, 2)) + np.arange(3)[:, None]
    moved = neighbours(x, 0.1, 0, 0)
    assert moved.shape == x.shape
    assert (moved != x).all()
    mixed = pd.DataFrame({"a": [0.0, 1.0], "b": ["x", "y"]})
    assert neighbours(mixed, 0.1, 0, 0)["b"].tolist() == ["x", "y"]

    class Shrinking:
        n = 3

        def explain(self, x):
            self.n -= 1
            return Explanation(torch.ones(len(x), self.n, 1))

    with pytest.raises(NotComparable, match="the same players"):
        max_sensitivity(Shrinking(), torch.rand(2, 3), draws=1, seed=0, words=dict)


# Problems


def test_models_that_cannot_be_opened_are_refused_by_type():
    ragged = Explanation(
        torch.ones(1, 2, 1), players=[("a", "b")], player_mask=torch.ones(1, 2, dtype=torch.bool)
    )
    silent = dataclasses.make_dataclass(
        "Silent", [], namespace={"explain": lambda self, x: ragged}
    )
    with pytest.raises(TypeError, match="without explain"):
        own_problem(object(), np.zeros((2, 3)))
    with pytest.raises(TypeError, match="neither logits"):
        own_problem(silent(), np.zeros((2, 3)))
    told = {"explain": lambda self, x: ragged, "logits": lambda self, x, present: x}
    with pytest.raises(TypeError, match="ragged players"):
        own_problem(dataclasses.make_dataclass("Told", [], namespace=told)(), np.zeros((2, 3)))


def test_an_open_game_answers_nothing_with_nothing_and_never_nan():
    game = OpenGame(lambda x, present: np.where(present, x, 0.0).sum(1), np.ones((2, 3)), 3)
    assert game(torch.ones(1, 0, 3, dtype=torch.bool)).shape == (2, 0, 1)
    torched = OpenGame(lambda x, present: torch.ones(len(x), 2), np.ones((2, 3)), 3)
    assert torched(torch.ones(1, 1, 3, dtype=torch.bool)).shape == (2, 1, 2)
    broken = OpenGame(lambda x, present: np.full(len(x), np.nan), np.ones((2, 3)), 3)
    with pytest.raises(ValueError, match="NaN or infinity with players absent"):
        broken(torch.ones(1, 1, 3, dtype=torch.bool))


def test_a_problem_needs_rows_labels_and_a_game():
    def game(x):
        return TableGame(torch.zeros(len(x), 4, 1))

    with pytest.raises(TypeError, match="game_factory of problem 'p' is a int"):
        Problem("p", [1], None, 5)
    with pytest.raises(ValueError, match="no rows"):
        Problem("p", [], None, game)
    with pytest.raises(ValueError, match="1 labels for 2 rows"):
        Problem("p", [1, 2], [0], game)


def test_a_black_box_does_not_explain_itself(airport):
    with pytest.raises(ValueError, match="holds a black box"):
        itself(airport)


@pytest.mark.parametrize(
    ("content", "name", "error", "said"),
    [
        ("x = 1", "y", ValueError, "has no 'y'"),
        ("x = 1", "x", TypeError, "must be a function from a Problem"),
    ],
)
def test_a_contender_that_is_none_is_refused_by_name(content, name, error, said, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(content)
    with pytest.raises(error, match=said):
        contender_from(f"{path}:{name}")


def test_contenders_of_places_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot be imported"):
        contender_from("no.such.module:thing")
    with pytest.raises(FileNotFoundError, match=r"FILE\.py:NAME"):
        contender_from(f"{tmp_path}/none.py:thing")


def test_an_explainer_itself_may_be_named_in_place_of_a_function(tmp_path, airport):
    path = tmp_path / "mine.py"
    path.write_text(
        "import torch\nfrom baselines import Explanation\n"
        "class Zero:\n    def explain(self, x):\n"
        "        return Explanation(torch.zeros(len(x), 100, 1))\n"
        "zero = Zero()\n"
    )
    assert contender_from(f"{path}:zero")(airport).explain([0]).values.shape == (1, 100, 1)


# Data


def test_tables_are_refused_by_name_and_place(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="No table 'stars'"):
        load("stars")
    with pytest.raises(FileNotFoundError, match="HARSANYI_DATA"):
        load("adult", tmp_path)
    monkeypatch.setenv("HARSANYI_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="set HARSANYI_DATA"):
        tabular.data_folder()


def test_rare_classes_are_left_out_and_told_and_given_parts_kept():
    y = np.array(["a"] * 30 + ["b"] * 30 + ["c"])
    table = Table("t", pd.DataFrame({"x": np.arange(61.0)}), y, "classification", 40)
    kept = tabular._drop_rare_classes(table)
    assert len(kept.y) == 60
    assert "dropped 1 rows of classes c" in kept.notes
    parts = split(kept, 0)
    assert parts.test.tolist() == list(range(40, 60))  # the data's own test part
    assert len(parts.train) + len(parts.validation) == 40
    numbers = dataclasses.replace(table, task="regression")
    assert tabular._drop_rare_classes(numbers) is numbers


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"text": []}, "holds no text"),
        ({"text": ["good", None]}, "row 1"),
        ({"text": ["good", "bad"], "label": ["p", None]}, "lacks a label in row 1"),
    ],
)
def test_a_file_of_texts_that_lacks_something_is_refused_by_row(rows, said, tmp_path):
    path = tmp_path / "texts.parquet"
    pd.DataFrame(rows, dtype=object).to_parquet(path)
    with pytest.raises(ValueError, match=said):
        read_texts(path)


@pytest.mark.parametrize(
    ("ending", "content"), [("csv", b""), ("csv", b"text\n"), ("jsonl", b"{")]
)
def test_a_file_without_texts_or_damaged_is_refused_by_name(ending, content, tmp_path):
    path = tmp_path / f"texts.{ending}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"texts\.{ending} holds no text, or is no"):
        read_texts(path)


def test_pairs_of_texts_become_a_data_set_of_two_columns():
    data = TextData("pairs", [("a", "b"), ("c", "d")], None, ())
    found = data.dataset()
    assert found.column_names == ["text", "text_pair"]
    assert list(found["text_pair"]) == ["b", "d"]


def texts(folder, rows, **columns):
    path = folder / "texts.csv"
    pd.DataFrame({"text": rows, **columns}).to_csv(path, index=False)
    return str(path)


def test_texts_to_learn_from_need_labels_a_share_and_two_rows(tmp_path):
    plain = texts(tmp_path, ["good film", "bad film"])
    with pytest.raises(ValueError, match="no column label"):
        _parts(plain, 0.2, 0)
    with pytest.raises(ValueError, match=r"--test-share 1\.0"):
        _parts(plain, 1.0, 0)
    with pytest.raises(ValueError, match="too few to hold one out"):
        _parts(texts(tmp_path, ["good film"], label=["p"]), 0.5, 0)
    train, test = _parts(texts(tmp_path, list("abcde"), label=list("pnpnp")), 0.4, 0)
    assert sorted([*train.texts, *test.texts]) == list("abcde")


def test_texts_without_a_word_are_nothing_to_explain(tmp_path):
    with pytest.raises(ValueError, match="no text with a word in it"):
        read_explained(texts(tmp_path, [" ", "  "], more=[1, 2]))
    assert read_explained(texts(tmp_path, ["good", " "], more=[1, 2])) == ["good"]


# Commands


def test_the_demo_needs_both_a_table_and_its_column(monkeypatch, tmp_path, capsys):
    ran = []
    monkeypatch.setattr(demo, "run_demo", lambda table, name, out, **words: ran.append(name))
    for words in ({"target": "y"}, {"data": tmp_path / "mine.csv"}):
        with pytest.raises(typer.Exit) as stopped:
            demo.main(**words, debug=False)
        assert stopped.value.exit_code == BAD_INPUT
    assert "needs a table" in capsys.readouterr().err
    pd.DataFrame({"a": [0.1, 0.2] * 20, "y": ["n", "p"] * 20}).to_csv(
        tmp_path / "mine.csv", index=False
    )
    demo.main(data=tmp_path / "mine.csv", target="y", out=tmp_path)
    demo.main(out=tmp_path)
    assert ran == ["mine", "Breast cancer"]


def test_a_csv_is_judged_by_the_bench_command(monkeypatch, tmp_path):
    path = tmp_path / "mine.csv"
    pd.DataFrame({"a": [0.1, 0.2] * 20, "y": ["n", "p"] * 20}).to_csv(path, index=False)
    board = pd.DataFrame([{"method": "one"}])
    run = dataclasses.make_dataclass("Run", ["leaderboard"])
    monkeypatch.setattr(demo, "run_demo", lambda table, name, out, **words: run(board))
    words = ["bench", str(path), "--target", "y", "--out", str(tmp_path)]
    done = CliRunner().invoke(app, [*words, "--json"])
    assert json.loads(done.stdout) == [{"method": "one"}]
    assert CliRunner().invoke(app, words).exit_code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--text", "a film"], "--text is for models of texts"),
        ([], "Pass a file after the model's folder"),
        (["DATA", "--unknown", "guess"], "--unknown error or --unknown missing"),
    ],
)
def test_a_model_of_tables_is_asked_for_rows(words, said, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "harsanyi"}))
    data = tmp_path / "rows.csv"
    data.write_text("a\n1\n")
    words = [str(data) if word == "DATA" else word for word in words]
    done = CliRunner().invoke(app, ["explain", str(tmp_path), *words])
    assert done.exit_code == BAD_INPUT
    assert said in done.stderr


def test_a_guest_of_another_estimand_is_judged_by_what_needs_no_truth(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from bench import sampled\ndef mine(problem):\n    return sampled('occlusion')(problem)\n"
    )
    board = judge_problem(
        "synthetic/glove", tmp_path / "run", rows=2, guest=f"{path}:mine", progress=False
    )
    row = board[board["method"] == f"{path}:mine"].iloc[0]
    assert np.isnan(row["mse"])
    assert row["truth_kind"] == "none"
    assert row["evals"] > 0
    with pytest.raises(ValueError, match="another job"):
        judge_problem("synthetic/glove", tmp_path / "run", rows=2, progress=False)
