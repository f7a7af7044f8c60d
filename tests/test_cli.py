"""Laws of the command line: each command on a user's CSV, one-line errors, exit codes, JSON."""

import importlib.metadata
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from baselines.explanation import Explanation
from bench import doctor, lex_tables
from bench.cli import app
from bench.faults import BAD_INPUT, CHECK_FAILED, INTERRUPTED, friendly
from bench.frames import read_frame, split_table, take_target

EVIL = "<script>alert(1)</script>"


def call(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a user's CSV: numbers, words, missing cells, a hostile column name."""
    folder = tmp_path_factory.mktemp("home")
    random = np.random.default_rng(0)
    n = 120
    frame = pd.DataFrame(
        {
            "size": random.normal(size=n).round(3),
            "colour": random.choice(["red", "green", "blue"], n),
            EVIL: random.normal(size=n).round(3),
            "label": "",
        }
    )
    frame["label"] = np.where(frame["size"] + (frame["colour"] == "red") > 0.4, "yes", "no")
    frame.loc[::7, "size"] = np.nan
    frame.to_csv(folder / "data.csv", index=False)
    frame.assign(label=frame["size"].fillna(0) * 3 + 0.5).to_csv(folder / "reg.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def model(home):
    """A model trained by the command that the README names, KIND left out."""
    done = call("train", home / "data.csv", "--target", "label", "--out", home / "model", "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["task"] == "classification"
    assert said["players"] == ["size", "colour", EVIL]
    assert 0.6 < said["score"] <= 1
    return home / "model"


def test_train_leaves_a_model_and_no_checkpoint(model):
    assert {"config.json", "model.safetensors"} <= {path.name for path in model.iterdir()}
    assert not list(model.glob("checkpoint-*"))


def test_explain_writes_exact_values_and_a_page(home, model):
    page, values = home / "page.html", home / "e.safetensors"
    done = call("explain", model, home / "data.csv", "--html", page, "--out", values)
    assert done.exit_code == 0, done.output
    assert "120 rows explained" in done.stdout
    explanation = Explanation.load(values)
    assert explanation.exact
    assert explanation.shape == (120, 3, 2)
    assert explanation.player_names() == ("size", "colour", EVIL)
    written = page.read_text(encoding="utf-8")
    assert EVIL not in written
    assert "red" in written or "colour" in written


def test_explain_for_programs_is_one_json_object(home, model):
    done = call("explain", model, home / "data.csv", "--json", "--top", 2)
    said = json.loads(done.stdout)
    assert said["rows"] == len(said["predictions"]) == len(said["top"]) == 120
    assert said["exact"] is True
    assert all(len(row) == 2 for row in said["top"])
    assert said["additivity_gap"] < 1e-4


def test_a_regression_trains_and_explains(home):
    out = home / "regressor"
    done = call("train", "tabular", home / "reg.csv", "--target", "label", "--out", out)
    assert done.exit_code == 0, done.output
    assert "regression" in done.stdout
    done = call("explain", out, home / "reg.csv", "--html", home / "reg.html")
    assert done.exit_code == 0, done.output


def test_an_unknown_category_is_refused_or_missing_as_asked(home, model):
    frame = pd.read_csv(home / "data.csv").head(5)
    frame.assign(colour="violet").to_csv(home / "violet.csv", index=False)
    refused = call("explain", model, home / "violet.csv")
    assert refused.exit_code == BAD_INPUT
    assert "violet" in refused.stderr
    assert call("explain", model, home / "violet.csv", "--unknown", "missing").exit_code == 0


def test_a_rare_word_in_the_held_out_rows_does_not_stop_a_training(tmp_path):
    frame = pd.DataFrame({"w": list("ab") * 30, "x": range(60), "y": ["u", "v"] * 30})
    _, test = split_table(take_target(frame, "y"), 0.2, 0)
    frame.loc[test[0], "w"] = "rare"
    frame.to_csv(tmp_path / "rare.csv", index=False)
    words = ("--target", "y", "--out", tmp_path / "m", "--json")
    done = call("train", tmp_path / "rare.csv", *words)
    assert done.exit_code == 0, done.output
    assert "1 test cells" in json.loads(done.stdout.splitlines()[-1])["notes"]
    assert call("explain", tmp_path / "m", tmp_path / "rare.csv").exit_code == BAD_INPUT


def test_a_selector_is_trained_for_as_long_as_asked(home, tmp_path, monkeypatch):
    asked = {}
    made = lex_tables.LEXForTables
    spy = lambda *words, **named: (asked.update(named), made(*words, **named))[1]
    monkeypatch.setattr(lex_tables, "LEXForTables", spy)
    words = ("--target", "label", "--out", tmp_path / "m", "--rate", 0.4, "--epochs", 2, "--json")
    done = call("train", "lex", home / "data.csv", *words)
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout.splitlines()[-1])
    assert set(said["inclusion"]) == {"size", "colour", EVIL}
    assert asked["epochs"] == asked["predictor_epochs"] == 2
    page = tmp_path / "page.html"
    told = call(
        "explain", tmp_path / "m", home / "data.csv", "--html", page, "--out", tmp_path / "e"
    )
    assert told.exit_code == 0, told.output
    explanation = Explanation.load(tmp_path / "e")
    assert explanation.estimand == "selection"
    assert explanation.shape == (120, 3, 1)
    assert EVIL not in page.read_text(encoding="utf-8")


BAD = {
    "repeated.csv": (b"a,b,a\n1,2,3\n", "several columns named 'a'"),
    "zero.csv": (b"a,label\n", "zero rows"),
    "empty.csv": (b"", "empty"),
    "blank.csv": (b"\n\n", "empty"),
    "noise.csv": (bytes(range(128, 256)) * 9, "no readable table"),
    "one.csv": (b"a,label\n1,x\n2,x\n", "one value only"),
    "ragged.csv": (b"a,label\n1,x\n1,2,3,4\n", "no readable table"),
    "alone.csv": (b"label\nx\ny\n", "no column but the target"),
    "few.csv": (b"a,label\n1,x\n2,y\n", "too few"),
    "names.csv": (b"a,label\n" + b"".join(b"1,u%d\n" % i for i in range(99)), "identifier"),
    "hollow.csv": (b"a,label\n1,\n2,\n", "empty in every row"),
    "torn.parquet": (b"PAR1 torn", "no parquet file"),
    "torn.csv.gz": (b"\x1f\x8b torn", "no readable table"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_table_is_one_line_and_exit_code_2(home, name):
    content, words = BAD[name]
    (home / name).write_bytes(content)
    done = call("train", home / name, "--target", "label", "--out", home / "never")
    assert done.exit_code == BAD_INPUT
    assert words in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.output
    assert not (home / "never" / "config.json").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "{}/data.csv"], "--target"),
        (["train", "{}/data.csv", "--target", "lable"], "did you mean 'label'"),
        (["train", "{}/no.csv", "--target", "label"], "no such file"),
        (["train", "{}", "--target", "label"], "a folder"),
        (["train", "audio", "{}/data.csv", "--target", "label"], "available: tabular"),
        (["train", "tabular"], "Pass a file"),
        (["train", "a", "b", "c"], "3 arguments"),
        (["train", "{}/data.csv", "--target", "label", "--task", "guess"], "task='guess'"),
        (["train", "{}/data.csv", "--target", "label", "--test-share", "2"], "test_share"),
        (["train", "{}/data.csv", "--target", "label", "--epochs", "3"], "--epochs 3"),
        (["train", "{}/data.csv", "--target", "label", "--task", "regression"], "no number"),
        (["explain", "{}", "{}/data.csv"], "no model in"),
        (["explain", "{}/model", "{}/no.csv"], "no such file"),
        (["report", "{}"], "neither leaderboard"),
        (["bench"], "pass one of"),
        (["bench", "--problem", "nothing"], "unknown"),
        (["bench", "{}/data.csv"], "--target"),
        (["truth", "check", "{}"], "manifest.json"),
        (["truth", "plan", "{}/t", "nothing"], "unknown"),
    ],
)
def test_a_wrong_command_says_what_to_do(home, model, words, said):
    done = call(*(word.format(home) for word in words))
    assert done.exit_code == BAD_INPUT
    assert said in done.stderr
    assert "Traceback" not in done.output


def test_errors_are_json_too_when_asked(home):
    done = call("train", home / "no.csv", "--target", "y", "--json")
    assert "no such file" in json.loads(done.stdout)["error"]


def test_debug_shows_the_traceback(home):
    with pytest.raises(FileNotFoundError):
        CliRunner().invoke(
            app,
            ["train", str(home / "no.csv"), "--target", "y", "--debug"],
            catch_exceptions=False,
        )


def test_damaged_models_are_refused(home, model):
    import shutil

    for name, content in (("config.json", b"{"), ("model.safetensors", b"torn")):
        copy = home / f"damaged-{name}"
        shutil.copytree(model, copy, dirs_exist_ok=True)
        (copy / name).write_bytes(content)
        done = call("explain", copy, home / "data.csv")
        assert done.exit_code == BAD_INPUT
        assert name in done.stderr


def test_columns_that_lack_are_named_and_more_are_ignored(home, model):
    frame = pd.read_csv(home / "data.csv")
    frame.drop(columns="colour").to_csv(home / "less.csv", index=False)
    done = call("explain", model, home / "less.csv")
    assert done.exit_code == BAD_INPUT
    assert "'colour'" in done.stderr
    frame.assign(more=1).iloc[:, ::-1].to_csv(home / "more.csv", index=False)
    one = call("explain", model, home / "more.csv", "--json")
    two = call("explain", model, home / "data.csv", "--json")
    assert json.loads(one.stdout)["top"] == json.loads(two.stdout)["top"]


def test_truth_is_planned_run_checked_and_verified(tmp_path):
    folder = tmp_path / "truth"
    planned = call(
        "truth", "plan", folder, "synthetic/airport", "--rows", 4, "--shard-size", 2, "--json"
    )
    assert json.loads(planned.stdout)["shards"] == 2
    unfinished = call("truth", "check", folder)
    assert unfinished.exit_code == CHECK_FAILED
    assert "missing" in unfinished.stdout
    assert call("truth", "run", folder, "--json").exit_code == 0
    assert call("truth", "check", folder).exit_code == 0
    verified = call("truth", "verify", folder, "--json")
    assert json.loads(verified.stdout)["gap"] <= 1e-5


def test_bench_judges_a_named_problem_and_report_draws_it_again(tmp_path):
    run = tmp_path / "run"
    done = call("bench", "--problem", "synthetic/airport", "--rows", 3, "--out", run, "--json")
    assert done.exit_code == 0, done.output
    methods = {row["method"] for row in json.loads(done.stdout.splitlines()[-1])}
    assert {"permutation@5n", "permutation@100n"} <= methods
    again = call("report", run, "--html", tmp_path / "again.html")
    assert again.exit_code == 0, again.output
    assert (tmp_path / "again.html").read_text().startswith("<!doctype html>")


def test_doctor_tells_versions_and_exits_0_without_clash():
    done = call("doctor", "--json")
    said = json.loads(done.stdout)
    assert said["versions"]["torch"] == importlib.metadata.version("torch")
    assert set(said["extras"]) >= {"plots", "report", "shap"}
    assert (done.exit_code == 0) == (said["clashes"] == [])


def test_doctor_names_a_distribution_that_supplies_our_package(monkeypatch):
    monkeypatch.setattr(
        importlib.metadata, "packages_distributions",
        lambda: {"baselines": ["harsanyi", "openai-baselines"], "bench": ["harsanyi"]},
    )  # fmt: skip
    (found,) = [words for words in doctor.clashes() if "openai-baselines" in words]
    assert "'baselines'" in found
    done = call("doctor")
    assert done.exit_code == CHECK_FAILED
    assert "CLASH" in done.stdout


def test_doctor_names_a_folder_that_shadows_ours(monkeypatch, tmp_path):
    other = tmp_path / "amortized" / "__init__.py"
    other.parent.mkdir()
    other.write_text("")
    find = importlib.util.find_spec

    def shadowed(name):
        if name == "amortized":
            return importlib.util.spec_from_file_location(name, other)
        return find(name)

    monkeypatch.setattr(importlib.util, "find_spec", shadowed)
    assert any(str(other) in words for words in doctor.clashes())


def test_ctrl_c_says_that_the_command_continues(capsys):
    import typer

    with pytest.raises(typer.Exit) as stopped, friendly():
        raise KeyboardInterrupt
    assert stopped.value.exit_code == INTERRUPTED
    assert "continues" in capsys.readouterr().err


def test_control_characters_of_a_file_never_reach_the_terminal(capsys):
    import typer

    with pytest.raises(typer.Exit), friendly():
        raise ValueError("cell '\x1b[2Jgone' is odd")
    assert "\x1b" not in capsys.readouterr().err


def test_help_needs_neither_torch_nor_matplotlib():
    program = (
        "import sys\nfrom bench.cli import app\n"
        "try: app(['--help'])\nexcept SystemExit: pass\n"
        "assert not {'torch', 'matplotlib', 'pandas', 'sklearn'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    for command in ("train", "explain", "bench", "truth", "report", "doctor"):
        assert command in done.stdout


@pytest.mark.parametrize(
    ("labels", "task"),
    [
        (["a", "b"] * 20, "classification"),
        ([True, False] * 20, "classification"),
        ([0, 1, 2, 1] * 20, "classification"),
        ([0.5, 1.25, 3.0, 7.75] * 20, "regression"),
        (list(range(80)), "regression"),
    ],
)
def test_the_task_is_read_from_the_target(labels, task):
    frame = pd.DataFrame({"a": range(len(labels)), "y": labels})
    assert take_target(frame, "y").task == task


def test_rows_without_a_target_are_left_out_and_counted():
    frame = pd.DataFrame({"a": range(20), "y": ["u", "v", None, "u"] * 5})
    table = take_target(frame, "y")
    assert len(table.X) == len(table.y) == 15
    assert "5 rows" in table.notes


def test_a_split_keeps_the_shares_of_the_classes_and_loses_no_row():
    frame = pd.DataFrame({"a": range(100), "y": ["u"] * 80 + ["v"] * 20})
    table = take_target(frame, "y")
    train, test = split_table(table, 0.25, seed=3)
    assert sorted([*train, *test]) == list(range(100))
    assert (table.y[test] == "v").sum() == 5


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".csv.gz", ".parquet"])
def test_every_kind_of_file_reads_the_same(tmp_path, suffix):
    frame = pd.DataFrame({"a": [1.5, np.nan], "b": ["x", "y z"]})
    path = tmp_path / f"t{suffix}"
    if suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
    pd.testing.assert_frame_equal(read_frame(path), frame, check_dtype=False)
