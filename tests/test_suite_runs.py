"""Laws of whole suites on toy data through the command line: they run, resume, and refuse by name."""

import dataclasses
import gzip
import json
import struct

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from bench import (
    architecture_suite,
    cli_images,
    image_suite,
    rationale_suite,
    selection_suite,
    text_rationales,
)
from bench.cli import app
from bench.faults import BAD_INPUT
from bench.problems import images as pictures
from bench.problems.images import load_pictures, read_idx
from bench.problems.rationales import RationaleProblem
from bench.smoke import EFFORT
from bench.text_rationales import Marked


def run(*words: object):
    """A command of ours in this process."""
    return CliRunner().invoke(app, list(map(str, words)))


@pytest.fixture
def csv(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.standard_normal((140, 3)), columns=list("abc"))
    frame["y"] = np.where(frame["a"] > frame["b"], "yes", "no")
    frame.to_csv(tmp_path / "mine.csv", index=False)
    return tmp_path / "mine.csv"


def test_architectures_train_on_a_users_file_and_the_page_says_all(csv, tmp_path, monkeypatch):
    brief = dataclasses.replace(EFFORT, nulls=False)
    monkeypatch.setattr(architecture_suite, "Effort", lambda: brief)
    out = tmp_path / "run"
    words = ["bench", csv, "--target", "y", "--suite", "architectures", "--out", out]
    words += ["--models", "amortized,permutation,harsanyi,lex", "--seeds", "2"]
    first = run(*words)
    assert first.exit_code == 0, first.output
    rows = {line.split(" | ")[0].strip("| ") for line in first.stdout.splitlines() if "|" in line}
    assert {"sampling", "amortized", "permutation", "harsanyi", "lex"} <= rows
    assert "(accuracy, 2 folds)" in first.stdout
    board = pd.read_parquet(out / "leaderboard.parquet")
    assert set(board["explains"]) == {"own", "box"}
    assert board[board["method"] == "amortized"]["break_even"].notna().all()
    again = run(*words, "--json")
    assert again.exit_code == 0
    found = {row["method"]: row for row in json.loads(again.stdout.splitlines()[-1])}
    assert found["sampling"]["price"] == 0
    assert found["harsanyi"]["nrmse"] < 1e-5
    assert found["lex"]["nrmse"] is None  # a selection is no Shapley value
    assert found["harsanyi"]["model_rows"] == 1
    page = (out / "report.html").read_text()
    assert page.count("<img") >= 3
    told = run("report", out, "--json")
    assert json.loads(told.stdout)["page"] == str(out / "report.html")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bench"], "pass one of"),
        (["bench", "CSV"], "Pass --target"),
        (["bench", "CSV", "--suite", "architectures"], "Pass --target"),
        (["bench", "--suite", "nobody"], "'nobody'"),
        (["bench", "--suite", "architectures", "--models", "nobody"], "'nobody'"),
        (["bench", "--suite", "images", "--models", "nobody"], "'nobody'"),
        (["bench", "--suite", "images", "--tables", "digits,monet"], "'monet'"),
        (["bench", "--suite", "tabular", "--models", "nobody"], "'nobody'"),
        (["bench", "--suite", "selection", "--tables", "nobody"], "'nobody'"),
        (["bench", "--suite", "published", "--tables", "nobody"], "'nobody'"),
        (["bench", "--suite", "smoke", "--tables", "adult"], "its own data"),
        (["report", "EMPTY"], "neither leaderboard.parquet nor cells.parquet"),
    ],
)
def test_a_run_that_cannot_be_is_one_line_before_anything_is_judged(words, said, csv, tmp_path):
    (tmp_path / "empty").mkdir()
    places = {"CSV": str(csv), "EMPTY": str(tmp_path / "empty")}
    words = [places.get(word, word) for word in words]
    if words[0] == "bench":
        words += ["--out", str(tmp_path / "run")]
    done = run(*words)
    assert done.exit_code == BAD_INPUT
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(tmp_path.glob("run/shards/*"))


@pytest.fixture
def few_digits(monkeypatch):
    """Eighty digits to learn from and forty to be tested on, and an epoch to do it in."""

    def load(name, part):
        images, labels = load_pictures("digits", part)
        return (images[:80], labels[:80]) if part == "train" else (images[:40], labels[:40])

    recipe = image_suite.Recipe(
        8, {"patch": 4, "width": 8, "blocks": 2}, {"epochs": 1, "batch_size": 64}
    )
    monkeypatch.setattr(image_suite, "load_pictures", load)
    monkeypatch.setitem(image_suite.RECIPES, ("digits", "patches"), recipe)


def test_a_suite_of_pictures_is_measured_once_and_exact(few_digits, tmp_path, monkeypatch):
    words = ["bench", "--suite", "images", "--models", "patches", "--out", tmp_path]
    first = run(*words)
    assert first.exit_code == 0, first.output
    assert "| digits | patches | 4 | 1 |" in first.stdout
    frame = pd.read_parquet(tmp_path / "cells.parquet")
    assert frame["exact_others_present"].max() <= 1e-10
    assert frame["order_1"][0] + frame["order_2"][0] + frame["order_3_to_9"][0] <= 1 + 1e-9
    monkeypatch.setattr(image_suite, "judge_images", None)
    assert run(*words).exit_code == 0
    assert pd.read_parquet(tmp_path / "cells.parquet").equals(frame)
    minutes = image_suite.Clock(tmp_path / "models" / "digits-patches-0" / "clock.json")
    assert minutes.before == pytest.approx(frame["cpu_minutes"][0], rel=1e-6)  # float32 there


@pytest.mark.parametrize(
    ("players", "units", "preset"),
    [("patches", 4, None), ("published-adamw", 16, "chen2023-cnn")],
)
def test_named_pictures_train_by_their_recipe(
    players, units, preset, few_digits, tmp_path, monkeypatch
):
    published = image_suite.Recipe(
        8, {"width": 8, "blocks": 1}, {"epochs": 1, "coalition_weight": 0.0}
    )
    monkeypatch.setitem(image_suite.RECIPES, ("digits", "published-adamw"), published)
    monkeypatch.setattr(cli_images, "load_pictures", image_suite.load_pictures)
    words = ["train", "images", "digits", "--players", players, "--out", tmp_path / "model"]
    done = run(*words, "--json")
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout.splitlines()[-1])
    assert facts["players"] == units
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["n_outputs"] == 10
    assert config["recipe"]["preset"] == preset
    assert "on 40 held-out pictures" in run(*words[:-1], tmp_path / "again").stdout


def test_nothing_to_explain_among_files_is_said(album, tmp_path):
    with pytest.raises(FileNotFoundError, match="no picture or folder"):
        cli_images._pictures(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="has no pictures"):
        cli_images._pictures(tmp_path / "empty")
    assert len(cli_images._pictures(album / "dark")) == 6


def test_pictures_without_a_recipe_or_a_file_are_refused_by_name(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="there are patches, cells"):
        image_suite.recipe_of("digits", "magic")
    with pytest.raises(ValueError, match="name='monet'"):
        load_pictures("monet", "train")
    monkeypatch.setattr(pictures, "data_folder", lambda: tmp_path)
    with pytest.raises(FileNotFoundError, match="HARSANYI_DATA"):
        load_pictures("mnist", "train")
    with pytest.raises(FileNotFoundError, match="cifar10_jpg_test"):
        load_pictures("cifar10", "test")
    (tmp_path / "images").mkdir()
    table = pd.DataFrame({"image": [b"no picture"], "label": [1]})
    table.to_parquet(tmp_path / "images" / "cifar10_jpg_test.parquet")
    with pytest.raises(ValueError, match="is damaged"):
        load_pictures("cifar10", "test")


def idx(*shape: int, bytes_left_out: int = 0) -> bytes:
    """A file of zeros in the idx format, whole or cut."""
    body = bytes(int(np.prod(shape)) - bytes_left_out)
    head = b"\x00\x00\x08" + bytes([len(shape)]) + struct.pack(f">{len(shape)}i", *shape)
    return gzip.compress(head + body)


def test_pictures_and_labels_come_in_pairs_and_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "data_folder", lambda: tmp_path)
    folder = tmp_path / "images" / pictures.FOLDERS["mnist"]
    folder.mkdir(parents=True)
    stem = pictures._FILES["test"]
    images, labels = (
        folder / f"{stem}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1")
    )
    images.write_bytes(idx(3, 2, 2))
    labels.write_bytes(idx(3))
    assert load_pictures("mnist", "test")[0].shape == (3, 2, 2)
    assert pictures.load_images("mnist", "test")[0].dtype == np.float64
    labels.write_bytes(idx(2))
    with pytest.raises(ValueError, match="3 test images and 2 labels"):
        load_pictures("mnist", "test")
    for content in (idx(3, bytes_left_out=1), gzip.compress(b"text"), b"text"):
        labels.write_bytes(content)
        with pytest.raises(ValueError, match="no complete idx file"):
            read_idx(labels)


@pytest.fixture
def album(tmp_path):
    """A folder of pictures of two classes, every one of another size."""
    rng = np.random.default_rng(0)
    for name, low in (("dark", 0), ("light", 155)):
        folder = tmp_path / "album" / name
        folder.mkdir(parents=True)
        for i in range(6):
            pixels = rng.integers(low, low + 100, (8 + i, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")
    return tmp_path / "album"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--players", "magic"], "--players 'magic'"),
        (["--test-share", "1.5"], "--test-share 1.5"),
    ],
)
def test_a_training_on_pictures_that_cannot_be_is_refused_by_name(more, said, album, tmp_path):
    done = run("train", "images", album, "--out", tmp_path / "model", *more)
    assert done.exit_code == BAD_INPUT
    assert said in done.stderr


def test_pictures_of_one_class_or_none_are_refused(album, tmp_path):
    missing = run("train", "images", tmp_path / "nowhere", "--out", tmp_path / "model")
    assert "is no folder of pictures" in missing.stderr
    for path in (album / "dark").iterdir():
        path.unlink()
    (album / "notes.txt").write_text("not a class")
    done = run("train", "images", album, "--out", tmp_path / "model")
    assert done.exit_code == BAD_INPUT
    assert "pictures of 1 classes" in done.stderr


def test_many_broken_pictures_are_counted_and_some_are_named(album):
    good = sorted(album.rglob("*.png"))
    bad = [album / f"broken{i}.png" for i in range(7)]
    for path in bad:
        path.write_bytes(b"no picture")
    kept, left = cli_images.readable([*good, *bad], True)
    assert (kept, left) == (good, bad)
    assert "broken4.png and 2 more" in cli_images._left_out(left)
    with pytest.raises(ValueError, match=r"6 more of 19.*--skip-bad"):
        cli_images.readable([*good, *bad], False)
    with pytest.raises(ValueError, match="more of 7") as all_bad:
        cli_images.readable(bad, True)
    assert "--skip-bad" not in str(all_bad.value)  # it would not help


@pytest.mark.parametrize("players", ["patches", "cells"])
def test_a_folder_of_pictures_trains_with_any_players(players, album, tmp_path):
    out, page = tmp_path / "model", tmp_path / "page.html"
    words = ["--players", players, "--epochs", "1", "--out", out]
    done = run("train", "images", album, *words)
    assert done.exit_code == 0, done.output
    assert f"({players})" in done.stdout
    told = run("explain", out, album / "dark", "--html", page, "--json")
    assert told.exit_code == 0, told.output
    facts = json.loads(told.stdout)
    assert facts["pictures"] == 6
    assert facts["exact"]
    # the page does not wait for every pair of a thousand cells
    assert ("Together:" in page.read_text()) == (facts["players"] <= cli_images.PAIRED)


WORDS = ("film", "plot", "good", "bad", "very", "quite")


def marked_texts(rows: int, seed: int):
    """Texts that one word decides, which is the word that people marked."""
    rng = np.random.default_rng(seed)
    texts, y, marks = [], [], []
    for _ in range(rows):
        label = int(rng.integers(2))
        words = [WORDS[i] for i in rng.choice([0, 1, 4, 5], 4)]
        place = int(rng.integers(4))
        words[place] = ("bad", "good")[label]
        texts.append(words)
        y.append(label)
        marks.append(np.arange(4) == place)
    return texts, np.array(y), marks


@pytest.fixture
def rationales(monkeypatch):
    """A problem of marked words in place of the real ones."""
    texts, y, _ = marked_texts(240, 0)
    shown, y_test, marks = marked_texts(40, 1)
    problem = RationaleProblem("toy", texts, y, shown, y_test, marks, longest=5)
    monkeypatch.setitem(rationale_suite.RATIONALES, "toy", lambda seed=0: problem)
    rationale_suite.prepared.cache_clear()
    yield problem
    rationale_suite.prepared.cache_clear()


def test_every_method_on_texts_is_scored_against_the_marks(rationales):
    found = {
        name: rationale_suite.judge_texts("toy", name, 0)
        for name in rationale_suite.TEXT_ENTRIES
        if name not in ("lex-concrete", "rationale", "lex-words")  # the same road as lex-drop
    }
    for one in found.values():
        assert set(one) <= set(selection_suite.MEASURES)
        assert 0 <= one["tpr_at_k"] <= 1
    assert found["shapley"]["tpr_at_k"] == found["occlusion"]["tpr_at_k"] == 1
    assert found["shapley"]["evalx_at_k"] > 0.9
    assert found["random"]["tpr_at_k"] < 0.6
    assert found["shapley"]["evalx_at_k"] > found["random"]["evalx_at_k"] + 0.1
    assert found["lex-drop"]["gap"] == pytest.approx(
        found["lex-drop"]["own_accuracy"] - found["lex-drop"]["evalx_accuracy"]
    )


def test_passages_rank_by_their_mean_and_padding_is_never_shown(rationales):
    scores = np.array([[0.9, 0.1, 0.6, 0.6, 0.0]])
    marks = [np.array([False, False, True, True])]
    alone = rationale_suite._scored(scores, marks)
    passages = rationale_suite._scored(scores, marks, [np.array([0, 0, 1, 1])])
    assert alone["auroc"] < passages["auroc"] == 1
    rows = torch.tensor([[3, 4, rationale_suite.PADDING]])
    shown = rationale_suite.top_words(torch.tensor([[0.1, 0.2, 9.0]]), rows, [3])
    assert shown.tolist() == [[True, True, False]]


def test_marks_of_people_are_judged_once_and_tabled(tmp_path, monkeypatch, capsys):
    texts, y, _ = marked_texts(60, 2)
    shown, outputs, marks = marked_texts(12, 3)
    flags = []
    for words, marked in zip(shown, marks, strict=True):
        letters = [
            bool(m)
            for word, m in zip(words, marked, strict=True)
            for m in [m] * len(word) + [False]
        ]
        flags.append(np.array(letters[:-1]))
    flags[0][:] = False  # nobody marked anything: the text is left out

    def toy() -> Marked:
        known = ([" ".join(words) for words in texts], y.tolist())
        return Marked(known, [" ".join(w) for w in shown], flags, outputs.tolist(), "bag")

    monkeypatch.setattr(text_rationales, "SETS", {"toy": toy})
    words = ["--out", str(tmp_path), "--sets", "toy", "--epochs", "2"]
    text_rationales.main(words)
    told = json.loads((tmp_path / "toy.json").read_text())
    assert told["texts"] == 11
    assert told["marked"] == pytest.approx(0.25)
    assert told["interval"][0] <= told["auprc"] <= told["interval"][1]
    first = capsys.readouterr().out
    assert "| toy | 11 |" in first
    monkeypatch.setattr(text_rationales, "judge", None)
    text_rationales.main(words)  # read, not judged again
    assert capsys.readouterr().out == first
    with pytest.raises(SystemExit):
        text_rationales.main(["--sets", "magic"])
    (tmp_path / "toy.json").unlink()
    monkeypatch.undo()
    monkeypatch.setattr(text_rationales, "SETS", {"toy": toy})
    text_rationales.main(words)  # the model is there: it is loaded, not trained
    again = json.loads((tmp_path / "toy.json").read_text())
    assert again["auprc"] == told["auprc"]


@pytest.mark.parametrize("name", list(text_rationales.SETS))
def test_marks_of_every_set_fit_their_texts(name, data_folder):
    found = text_rationales.SETS[name]()
    assert len(found.texts) == len(found.marks) == len(found.outputs)
    assert len(found.train[0]) == len(found.train[1])
    assert all(len(t) == len(m) for t, m in zip(found.texts, found.marks, strict=True))
    assert 0 < np.mean([m.any() for m in found.marks])
    assert set(found.outputs) <= {0, 1}
