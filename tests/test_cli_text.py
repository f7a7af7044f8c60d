"""Texts at the command line: train, then explain."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.problems.text_data import read_texts

ROWS = [
    ("a good film", "pos"), ("not a good film", "neg"), ("a bad film", "neg"),
    ("not a bad film", "pos"), ("really good", "pos"), ("this is awful", "neg"),
] * 8  # fmt: skip


def call(*words):
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    return result.exit_code, result.stdout if result.exit_code == 0 else result.output


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    data = folder / "texts.tsv"
    data.write_text("text\tlabel\n" + "".join(f"{t}\t{y}\n" for t, y in ROWS))
    code, output = call("train", "text", data, "--out", folder / "model", "--epochs", 12, "--json")
    assert code == 0, output
    return folder, json.loads(output.strip().splitlines()[-1])


def test_a_model_is_trained_on_a_file_and_scored_on_what_was_held_out(trained):
    folder, facts = trained
    assert facts["rows"] == 10
    assert facts["score"] >= 0.8
    assert facts["classes"] == ["neg", "pos"]
    names = {path.name for path in (folder / "model").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert "checkpoints" not in names


def test_texts_are_explained_in_the_terminal_as_json_and_on_a_page(trained):
    folder, _ = trained
    page = folder / "page.html"
    code, output = call("explain", folder / "model", "--text", "not a good film", "--html", page)
    assert code == 0, output
    assert "not a good film" in output
    assert "&" in output
    assert "https://" not in page.read_text()
    assert "good" in page.read_text()
    code, output = call(
        "explain", folder / "model", "--text", "good", "--text", "bad", "--json",
        "--out", folder / "e.safetensors",
    )  # fmt: skip
    facts = json.loads(output.strip().splitlines()[-1])
    assert facts["exact"]
    assert facts["texts"] == 2
    assert facts["additivity_gap"] <= 1e-4
    assert (folder / "e.safetensors").is_file()


def test_a_file_of_texts_is_explained_whole(trained):
    folder, _ = trained
    code, output = call("explain", folder / "model", folder / "texts.tsv", "--json")
    assert code == 0
    assert json.loads(output.strip().splitlines()[-1])["texts"] == len(ROWS)


def test_other_libraries_bars_stay_out_of_what_a_command_says(trained):
    folder, _ = trained
    command = "from bench.cli import main; main()"
    words = ["explain", folder / "model", folder / "texts.tsv", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", command, *map(str, words)],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parent.parent,
        env={**os.environ, "HF_HOME": str(folder / "cache")},
    )  # fmt: skip
    assert done.stderr == ""
    assert json.loads(done.stdout)["texts"] == len(ROWS)


def test_what_cannot_be_done_is_said_in_one_line(trained, tmp_path):
    folder, _ = trained
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text('{"model_type": "harsanyi"}')
    for words, told in (
        (("explain", folder / "model"), "nothing to explain"),
        (("train", "text", folder / "none.tsv"), "none.tsv"),
        (("train", "text", folder / "texts.tsv", "--design", "lstm"), "lstm"),
        (("train", "text", folder / "texts.tsv", "--players", "cells"), "words or tokens"),
        (("explain", tmp_path / "none", "--text", "a"), "no folder"),
        (("explain", tmp_path, "--text", "a"), "no model in"),
        (("explain", other, "--text", "a"), "--text is for models of texts"),
    ):
        code, output = call(*words)
        assert code == 2
        assert told in " ".join(output.split())


def test_a_file_without_a_header_is_told_of(tmp_path):
    path = tmp_path / "bare.tsv"
    path.write_text("a good film\t1\na bad film\t0\n")
    with pytest.warns(UserWarning, match="the one named 'a good film'"):
        assert read_texts(path).texts == ["a bad film"]
