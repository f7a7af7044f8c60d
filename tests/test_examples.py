"""Every example runs and keeps its promise."""

import importlib.util
import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from bench.cli import app

FOLDER = Path(__file__).resolve().parent.parent / "examples"


def load(name):
    """An example as a module; examples are files to read, not a package."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tabular_example_is_exact_on_its_table(tmp_path, capsys):
    error = load("tabular").main([], tmp_path, epochs=5)
    assert error < 1e-3  # targets are of the order of 100, and the net is float32
    written = {path.name for path in tmp_path.iterdir()}
    assert {"explanations.safetensors", "waterfall.png", "beeswarm.png", "model"} <= written
    assert "score on 88 rows" in capsys.readouterr().out


def test_the_tabular_example_takes_a_table_of_ones_own(tmp_path):
    frame = pd.DataFrame({"a": range(60), "b": list("xyz") * 20, "y": ["u", "v"] * 30})
    frame.to_csv(tmp_path / "own.csv", index=False)
    assert load("tabular").main([str(tmp_path / "own.csv"), "y"], tmp_path, epochs=3) < 1e-5


def test_the_text_example_is_exact_and_writes_what_it_shows(tmp_path, capsys):
    data = tmp_path / "own.tsv"
    rows = [
        "a good film\tpos",
        "not a good film\tneg",
        "a bad film\tneg",
        "not a bad film\tpos",
    ] * 5
    data.write_text("\n".join(["text\tlabel", *rows, ""]))
    assert load("text").main([str(data)], tmp_path, epochs=3, min_count=1) < 1e-10
    assert {"model", "review.html"} <= {path.name for path in tmp_path.iterdir()}
    assert "absent against deleted: 0e+00" in capsys.readouterr().out


def test_the_picture_example_draws_one_row_and_many(tmp_path):
    path = load("picture").main([], tmp_path / "new" / "values.png", rows=20)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 20_000  # an empty page has a tenth of that


def test_the_search_example_adds_up_on_the_documentation(capsys):
    assert load("search").main([]) < 1e-10
    assert "score" in capsys.readouterr().out


def test_an_explainer_of_ones_own_is_judged_and_its_evaluations_counted():
    board = load("my_explainer").main(rows=3).set_index("method")
    n = int(board["n_players"].iloc[0])
    assert board.loc["leave one out", "evals"] == 2 * n + 2
    # The airport game is not additive, and two marginals are not all of them.
    assert board.loc["leave one out", "nrmse"] > 0.01


def test_an_explainer_of_ones_own_joins_from_the_command_line(tmp_path):
    words = [f"{FOLDER / 'my_explainer.py'}:leave_one_out", "--problem", "synthetic/airport"]
    done = CliRunner().invoke(
        app, ["bench", *words, "--rows", "2", "--out", str(tmp_path / "run"), "--json"]
    )
    assert done.exit_code == 0, done.output
    methods = [row["method"] for row in json.loads(done.stdout.splitlines()[-1])]
    assert any("leave_one_out" in method for method in methods)
    assert "leave_one_out" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_examples_are_short_and_say_what_they_are(path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith('"""')
    assert len(text.splitlines()) <= 110
