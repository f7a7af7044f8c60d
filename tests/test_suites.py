"""Laws of the tabular suite: resumable cells, paired verdicts, honest tables."""

import importlib.metadata

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from baselines import shards
from bench import published_suite, suites
from bench.problems.models import MODELS as BOXES
from bench.problems.models import coded, fit_box, reference
from bench.problems.tabular import Table, load, split
from bench.registry import finish_suite
from bench.suite_models import MODELS, fit_suited
from bench.suite_tables import describe, mean_ranks, paired, verdict, write_suite
from bench.suites import MEASURES, judge, plan_suite, run_suite, suite_frame

TIMED = ("fit_seconds", "predict_seconds", "explain_seconds")
MADE = {"commit": "abc", "date": "today", "hardware": "a machine"}


@pytest.fixture
def brief(monkeypatch) -> None:
    """The published model after three epochs: its explanation is exact however well it fits."""
    from harsanyi import HarsanyiClassifier

    def make(table: Table, seed: int) -> HarsanyiClassifier:
        return HarsanyiClassifier(preset="chen2023", epochs=3, random_state=seed)

    monkeypatch.setitem(MODELS, "chen2023", make)


def small(name: str) -> Table:
    """Two blobs, or a plane, with a category and a missing value; `name` says which."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.standard_normal((120, 3)), columns=["a", "b", "c"])
    X.loc[3, "b"] = np.nan
    X["kind"] = np.where(rng.random(120) < 0.5, "red", "blue")
    signal = X["a"] - X["c"] + (X["kind"] == "red")
    if name == "numbers":
        return Table(name, X, signal.to_numpy(dtype=float), "regression")
    return Table(name, X, np.where(signal > 0.5, "yes", "no"), "classification")


@pytest.fixture
def tables(monkeypatch) -> None:
    monkeypatch.setattr(suites, "TABLES", {"words": small, "numbers": small})
    monkeypatch.setattr(suites, "load", small)


def without_time(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(columns=list(TIMED))


@pytest.mark.usefixtures("tables")
def test_a_suite_that_was_stopped_ends_in_the_same_cells(tmp_path) -> None:
    words = {"tables": ("words", "numbers"), "models": ("linear",), "seeds": 2}
    whole = plan_suite(tmp_path / "whole", **words)
    assert run_suite(whole, progress=False) == [0, 1, 2, 3]
    torn = plan_suite(tmp_path / "torn", **words)
    run_suite(torn, progress=False)
    torn.path(2).unlink()
    assert len(suite_frame(torn)) == 3
    assert run_suite(torn, progress=False) == [2]
    assert shards.check(torn).complete
    frames = [without_time(suite_frame(plan)) for plan in (whole, torn)]
    pd.testing.assert_frame_equal(*frames)
    assert frames[0]["score"].notna().all()


@pytest.mark.usefixtures("tables")
def test_a_folder_keeps_to_its_plan(tmp_path) -> None:
    plan_suite(tmp_path, tables=("words",), models=("linear",), seeds=1)
    with pytest.raises(ValueError, match="seeds"):
        plan_suite(tmp_path, tables=("words",), models=("linear",), seeds=2)
    with pytest.raises(ValueError, match=r"models \['magic'\]"):
        plan_suite(tmp_path / "other", tables=("words",), models=("magic",), seeds=1)


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize("model", ["linear", "mlp", "boosting"])
@pytest.mark.parametrize("name", ["words", "numbers"])
def test_every_box_is_fitted_and_measured(model, name) -> None:
    found = judge(name, model, 0)
    assert set(found) <= set(MEASURES)
    assert found["score"] > 0.6
    assert found["masked_score"] < found["score"]
    assert {"log_loss", "auroc"} <= set(found) or "rmse" in found
    assert "exactness" not in found


@pytest.mark.usefixtures("tables", "brief")
def test_a_model_that_explains_itself_is_measured_exact() -> None:
    found = judge("words", "chen2023", 0)
    assert found["exactness"] < 1e-5
    assert found["additivity_gap"] < 1e-5
    assert sum(found[f"order_{i}"] for i in (1, 2, 3, 4)) + found["order_more"] == pytest.approx(1)


@pytest.mark.usefixtures("tables", "brief")
def test_an_explanation_of_another_game_is_found_out(monkeypatch) -> None:
    table = small("words")
    fitted = fit_suited("chen2023", table, np.arange(100), 0)
    honest = fitted.model.explain

    def boasting(X, present=None):
        import dataclasses

        found = honest(X, present)
        return dataclasses.replace(found, values=found.values.flip(1))

    monkeypatch.setattr(fitted.model, "explain", boasting)
    found = suites._explanation_measures(fitted, table.X.iloc[:20], 0)
    assert found["exactness"] > 1e-3


def scores(gap: dict[str, list[float]]) -> pd.DataFrame:
    """Scores of boosting at 0.5 and of ours ahead by `gap`, table by table and seed by seed."""
    rows = []
    for table, gaps in gap.items():
        for seed, ahead in enumerate(gaps):
            common = {"table": table, "seed": seed, **dict.fromkeys(MEASURES, 0.1)}
            rows.append({**common, "model": "boosting", "score": 0.5 + 0.1 * seed})
            rows.append({**common, "model": "ours", "score": 0.5 + 0.1 * seed + ahead})
    return pd.DataFrame(rows)


def test_paired_differences_take_the_split_out() -> None:
    found = paired(scores({"a": [0.01, 0.03, 0.02]}), "ours", "boosting").loc["a"]
    assert found["mean"] == pytest.approx(0.02)
    assert found["se"] == pytest.approx(stats.sem([0.01, 0.03, 0.02]))
    assert found["seeds"] == 3


def test_verdicts_count_tables_and_not_seeds() -> None:
    gaps = {
        **{f"better {i}": [0.01 * (i + 1)] * 2 for i in range(5)},
        "worse by less than its error": [-0.033, 0.01],
        "worse": [-0.02, -0.021],
    }
    found = verdict(scores(gaps), "ours", "boosting")
    counts = {name: found[name] for name in ("tables", "not_worse", "better", "worse")}
    assert counts == {"tables": 7, "not_worse": 6, "better": 5, "worse": 2}
    means = [np.mean(values) for values in gaps.values()]
    assert found["p"] == pytest.approx(stats.wilcoxon(means).pvalue)


def test_mean_ranks_begin_at_the_best() -> None:
    ranks = mean_ranks(scores({"a": [0.1], "b": [0.1], "c": [-0.1]}))
    assert ranks.to_dict() == {"ours": pytest.approx(4 / 3), "boosting": pytest.approx(5 / 3)}


@pytest.mark.usefixtures("tables")
def test_results_state_their_command_and_commit(tmp_path) -> None:
    plan = plan_suite(tmp_path / "run", tables=("words",), models=("linear",), seeds=1)
    with pytest.raises(ValueError, match="no cell"):
        write_suite(suite_frame(plan), tmp_path / "t.md", plan=plan, made=MADE)
    run_suite(plan, progress=False)
    write_suite(suite_frame(plan), tmp_path / "t.md", plan=plan, made=MADE)
    text = (tmp_path / "t.md").read_text()
    for said in ("--tables words --models linear --seeds 1", "Commit abc", "1 of 1 cells"):
        assert said in text
    stored = pd.read_parquet(plan.folder / "cells.parquet")
    pd.testing.assert_frame_equal(stored, suite_frame(plan))


@pytest.mark.usefixtures("tables")
def test_one_call_finishes_a_suite_and_says_so(tmp_path) -> None:
    frame, page = finish_suite(
        "tabular", tmp_path, tables="words, numbers", models="linear", seeds=1
    )
    assert len(frame) == 2
    assert "2 of 2 cells judged" in page.read_text()
    again, _ = finish_suite("tabular", tmp_path, tables="words, numbers", models="linear", seeds=1)
    pd.testing.assert_frame_equal(frame, again)  # seconds too: nothing was judged again
    with pytest.raises(ValueError, match="suite='magic' is unknown"):
        finish_suite("magic", tmp_path)


def test_missing_numbers_are_shown_as_missing(tmp_path) -> None:
    frame = scores({"a": [0.1, 0.2]})
    frame.loc[frame["model"] == "ours", "auroc"] = np.nan
    config = {"tables": ["a"], "models": ["boosting", "ours"], "seeds": 2}
    plan = shards.plan_job(tmp_path, config, 4, 1)
    text = describe(frame, plan, MADE)
    row = text.split("## AUROC")[1].split("\n| a |")[1].splitlines()[0]
    assert row.endswith("| - |")
    assert "nan" not in text


def test_an_unknown_model_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="magic"):
        fit_suited("magic", small("words"), np.arange(10), 0)
    assert set(MODELS) >= {"linear", "mlp", "boosting", "ebm", "chen2023", "harsanyi"}


@pytest.mark.parametrize("kind", BOXES)
@pytest.mark.parametrize("name", ["words", "numbers"])
def test_boxes_of_the_catalogue_take_categories_and_missing_values(kind, name) -> None:
    table = small(name)
    box = fit_box(kind, table, np.arange(100))
    answers = box.predict(coded(table))
    assert len(answers) == 120
    assert np.isfinite(reference(table, np.arange(100)).numpy()).all()


def test_codes_of_categories_keep_missing_ones_apart() -> None:
    X = pd.DataFrame({"kind": ["b", None, "a", "b"], "size": [1.0, np.nan, 3.0, 4.0]})
    rows = coded(Table("t", X, np.zeros(4), "regression"))
    assert rows[:, 0].tolist() == [2, 0, 1, 2]
    assert np.isnan(rows[1, 1])


def test_named_problems_are_the_same_every_time() -> None:
    from bench.problems.catalogue import named_problem

    one, two = (named_problem("diabetes/logistic", b=4) for _ in range(2))
    assert one.content_hash == two.content_hash
    assert one.name == "diabetes/logistic/baseline"
    assert named_problem("diabetes/logistic@1", b=4).content_hash != one.content_hash
    with pytest.raises(ValueError, match="unknown"):
        named_problem("diabetes/magic")
    with pytest.raises(ValueError, match="unknown"):
        named_problem("diabetes/logistic@seven")


def test_installed_packages_may_add_problems(monkeypatch) -> None:
    from bench.problems import catalogue
    from bench.problems.synthetic import airport

    class Entry:
        name = "guest/airport"

        def load(self):
            return lambda: airport(5, b=2)

    def found(group: str) -> list[Entry]:
        return [Entry()] if group == "harsanyi.problems" else []

    monkeypatch.setattr(importlib.metadata, "entry_points", found)
    assert "guest/airport" in catalogue.problem_names()
    assert len(catalogue.named_problem("guest/airport")) == 2


def test_splits_are_the_loaders(tmp_path) -> None:
    table = load("diabetes")
    parts = split(table, 0)
    assert sorted([*parts.train, *parts.validation, *parts.test]) == list(range(len(table.y)))


def test_the_published_recipe_tells_what_of_it_is_alive(brief, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(published_suite, "TABLES", {"words": small})
    monkeypatch.setattr(published_suite, "load", small)
    plan = published_suite.plan_published(
        tmp_path / "published", tables=("words",), recipes=("chen2023",), seeds=1
    )
    published_suite.run_published(plan, progress=False)
    frame = published_suite.published_frame(plan)
    assert 0.5 < frame["score"].item() <= 1
    assert all(0 < frame[f"live_{block}"].item() <= 1 for block in (1, 2, 3))
    main = plan_suite(tmp_path, tables=("diabetes",), models=("linear",), seeds=1)
    cells = pd.DataFrame([{"table": "diabetes", "model": "linear", "seed": 0, "score": 0.5}])
    page = describe(cells.reindex(columns=["table", "model", "seed", *MEASURES]), main, MADE)
    assert "## The paper's recipe beside ours" in page
    assert f"{frame['live_3'].item():.1%}" in page
