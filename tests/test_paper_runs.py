"""Laws of what makes the paper tables: studies on small data, nothing made twice, no name unknown."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from bench import limits, paper_cte, paper_lex, paper_rivals
from bench import paper_harsanyinet as net
from bench.cli import app
from bench.faults import BAD_INPUT
from bench.problems.tabular import Table


def toy(rows=120, task="classification", classes=2) -> Table:
    """A few numbers of which two decide."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.standard_normal((rows, 4)), columns=list("abcd"))
    score = X["a"] - X["b"]
    if task == "regression":
        return Table("toy", X, score.to_numpy(), task)
    places = np.searchsorted(np.quantile(score, np.arange(1, classes) / classes), score)
    return Table("toy", X, np.asarray(list("xyz"))[places], task)


def setting(**words) -> net.Setting:
    table, rows = toy(), np.arange(120)
    budget = net.Budget(120, 2, 4, **words)
    return net.Setting(table, rows[:90], rows[90:], rows[90:94], 0, budget)


def test_studies_of_the_net_answer_for_every_figure_of_the_paper():
    found = {}
    for study in net.STUDIES:
        found |= net._STUDIES[study](setting())
    assert set(found) == set(net.MEASURES)
    assert all(np.isfinite(value) for value in found.values())
    assert max(found["rmse_chen2023"], found["rmse_ours"]) < 1e-5 < found["rmse_fastshap"]
    assert found["runs_kernel-paired_5000"] < found["runs_kernel-paired_10"]


def test_one_step_against_the_gradient_moves_every_number_by_its_reach():
    one = setting()
    plain = paper_rivals.ordinary_network(one, 1)
    x, y = paper_rivals.numbers(one, one.test), paper_rivals.labels(one, one.test)
    reach = torch.tensor([0.1, 0.2, 0.3, 0.4])
    moved = paper_rivals._fgsm(plain, x, y, reach)
    assert torch.allclose((moved - x).abs(), reach.expand_as(x), atol=1e-6)
    loss = torch.nn.functional.cross_entropy
    assert loss(plain(moved), y) > loss(plain(x), y)


def test_a_studys_rows_and_tables_are_the_papers(monkeypatch):
    wide = toy()
    X = wide.X.assign(fnlwgt=1.0, education="HS")
    adult = dataclasses.replace(wide, X=X)
    channel = dataclasses.replace(
        wide, X=wide.X.rename(columns={"a": "Shot_Length", "b": "b_Mean"})
    )
    sets = {"adult": adult, "yeast": wide, "tvnews-bbc": channel}
    monkeypatch.setattr(net, "load", sets.__getitem__)
    assert list(net.paper_table("census", None).X.columns) == list("abcd")
    assert list(net.paper_table("tv-news", 5000).X.columns) == ["Shot_Length", "b_Mean"]
    few = net.paper_table("yeast", 40)
    assert len(few.X) == len(few.y) == 40
    with pytest.raises(ValueError, match="'mnist' is not of the paper"):
        net.paper_table("mnist", None)


@pytest.mark.parametrize("module", [net, paper_lex], ids=["harsanyinet", "lex"])
def test_cells_of_a_paper_are_made_once(module, tmp_path, monkeypatch):
    made = []

    def judge(*words):
        made.append(words[:3])
        return dict.fromkeys(module.MEASURES, 0.25)

    monkeypatch.setattr(module, "judge_study" if module is net else "judge_imputer", judge)
    first = module.run_paper(tmp_path, progress=False)
    second = module.run_paper(tmp_path, progress=False)
    pd.testing.assert_frame_equal(first, second)
    assert len(first) == len(made) == len(set(made))
    with pytest.raises(ValueError, match="another job"):
        module.run_paper(tmp_path, full=True, progress=False)


def test_the_page_of_selections_says_what_was_spent_and_how_seeds_spread(tmp_path, monkeypatch):
    def judge(data, imputer, seed, budget):
        return dict.fromkeys(paper_lex.MEASURES, 0.25) | {"tpr_at_k": 0.5 + 0.1 * seed}

    monkeypatch.setattr(paper_lex, "judge_imputer", judge)
    out = ["--out", str(tmp_path)]
    done = CliRunner().invoke(app, ["paper", "lex", "--seeds", "3", *out])
    assert done.exit_code == 0, done.output
    text = (tmp_path / "lex.md").read_text()
    assert "| syn4 | zero | not available | 60.00 % (50.0 to 70.0) | 25.00 %" in text
    assert "6,000 rows, 30 epochs (no `--full`)" in text
    assert "harsanyi" in text.splitlines()[2]
    again = CliRunner().invoke(app, ["paper", "lex", "--seeds", "2", *out])
    assert again.exit_code == BAD_INPUT  # the folder holds another run


@pytest.mark.parametrize(("task", "classes"), [("regression", 0), ("classification", 3)])
def test_backgrounds_are_compared_on_any_kind_of_table(task, classes, monkeypatch):
    monkeypatch.setattr(paper_cte, "REPEATS", 2)
    monkeypatch.setattr(paper_cte, "POOLS", 1)
    monkeypatch.setattr(paper_cte, "SIZES", (16, 32, 64))
    table = toy(260, task, classes)
    table.X.loc[3, "a"] = np.nan
    X = table.X.assign(kind=np.where(table.X["c"] > 0, "red", "blue"))
    found = paper_cte.compare(
        dataclasses.replace(table, X=X), "logistic", rows=180, explicands=2, budget=24
    )
    assert found.players == 5
    assert found.iid[64] < found.iid[16]
    assert found.gain > 0
    assert set(found.others) == {"herding, equal weights", "k-means rows"}


def test_comparisons_of_backgrounds_reach_their_page_from_the_command(tmp_path, monkeypatch):
    def compare(table, kind, **words):
        return paper_cte.Comparison(table, kind, 3, 10, {64: 0.2, 128: 0.1}, {64: 0.1}, {})

    monkeypatch.setattr(paper_cte, "compare", compare)
    monkeypatch.setattr(paper_cte, "load", lambda name: name)
    out = tmp_path / "cte.md"
    paper_cte.main(["--tables", "a", "b", "--out", str(out)])
    assert out.read_text().count("| a | 3 |") == 2
    kept = json.loads((tmp_path / "cte" / "b-mlp.json").read_text())
    assert kept["table"] == "b"


def test_cases_of_the_limits_run_in_processes_of_their_own(monkeypatch, capsys):
    kept = {"nothing but imports": limits.CASES["nothing but imports"]}
    monkeypatch.setattr(limits, "CASES", kept)
    limits.main([])
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].startswith("| case |")
    case, seconds, memory = rows[2].strip("| ").split(" | ")
    assert case == "nothing but imports"
    assert float(seconds) < 5
    assert float(memory) > 50
    limits.main(["--case", "nothing but imports"])
    assert len(capsys.readouterr().out.split()) == 2


def test_a_case_of_the_limits_that_is_wrong_is_no_result(monkeypatch):
    limits._wide(30, "leverage_shap", 5)
    broken = dataclasses.make_dataclass("Answer", [("diagnostics", dict)])
    answer = broken({"additivity_gap": torch.tensor([0.5])})
    monkeypatch.setattr("baselines.leverage_shap", lambda game, budget: answer)
    with pytest.raises(RuntimeError, match=r"misses the total by 0\.5"):
        limits._wide(30, "leverage_shap", 5)
