"""Laws of evaluate and leaderboard: counted cost, honest ranks, one game at a time."""

import dataclasses
import importlib

import numpy as np
import pandas as pd
import pytest
import torch

import bench
from baselines.exact import exact_shapley
from baselines.explanation import Explanation
from baselines.game import MaskedGame, PresenceGame
from baselines.imputers import BaselineImputer, MarginalImputer
from bench import evaluate, ground_truth, leaderboard, own_problem, paired_difference, sampled
from bench.comparable import NotComparable
from bench.contenders import contender_from, contender_table
from bench.curves import removal_games
from bench.evaluation import contender_generator
from bench.judging import judge_problem
from bench.problems.problem import Problem
from bench.problems.synthetic import airport, unanimity_sum
from bench.standings import COLUMNS, UNREPEATED, imputer_rank_tau
from bench.truth import truth_generator


def network(seed: int = 0, n: int = 6, k: int = 2) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(seed)
    net = torch.nn.Sequential(torch.nn.Linear(n, 8), torch.nn.Tanh(), torch.nn.Linear(8, k))
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return net.double()


def box(seed: int = 0, n: int = 6, b: int = 12, background: int = 0) -> Problem:
    net = network(seed, n)
    rows = torch.randn(b, n, generator=torch.Generator().manual_seed(1)).double()
    imputer = (
        MarginalImputer(torch.randn(background, n, generator=torch.Generator()).double())
        if background
        else BaselineImputer(torch.zeros(n).double())
    )
    return Problem("box", rows, None, lambda x: MaskedGame(net, x, imputer), imputer, model=net)


class Planted:
    """The exact explanation, spoilt on purpose."""

    def __init__(self, problem: Problem, spoil) -> None:
        self.problem, self.spoil = problem, spoil

    def explain(self, x) -> Explanation:
        found = exact_shapley(self.problem.game(x))
        return dataclasses.replace(found, values=self.spoil(found.values), exact=False)


def test_the_exact_explainer_scores_nothing_wrong() -> None:
    problem = box()
    found = evaluate(sampled("exact_shapley"), problem, ground_truth(problem))
    row = leaderboard([found]).iloc[0]
    assert row.mse < 1e-24
    assert row.spearman == pytest.approx(1)
    assert (row.top_k, row.sign_errors) == (1, 0)
    assert row.efficiency_gap < 1e-12


@pytest.mark.parametrize(
    ("spoil", "column", "at_least"),
    [
        (lambda v: -v, "sign_errors", 0.99),
        (lambda v: v.flip(1), "mse", 0.01),
        (lambda v: v.flip(2), "mse", 0.01),
        (lambda v: 1.1 * v, "efficiency_gap", 0.01),
        (lambda v: torch.cat([0 * v[:, :1], v[:, 1:]], 1), "efficiency_gap", 0.01),
    ],
    ids=["sign", "player order", "class axis", "scale", "dropped player"],
)
def test_planted_errors_are_caught(spoil, column, at_least) -> None:
    problem = box()
    truth = ground_truth(problem)
    honest = leaderboard([evaluate(sampled("exact_shapley"), problem, truth)]).iloc[0]
    spoilt = leaderboard([evaluate(Planted(problem, spoil), problem, truth)]).iloc[0]
    assert honest[column] < 1e-9
    assert spoilt[column] > at_least


@pytest.mark.parametrize(("background", "draws"), [(0, 1), (7, 7)])
def test_counted_evaluations_are_what_the_game_saw(background, draws) -> None:
    problem = box(background=background)
    seen = []
    inner = problem.game_factory

    def watched(x):
        game = inner(x)
        play = game._run
        game._run = lambda rows: (seen.append(len(rows)), play(rows))[1]
        return game

    watching = dataclasses.replace(problem, game_factory=watched)
    truth = ground_truth(problem)
    before = len(seen)
    found = evaluate(sampled("permutation_shapley", 40), watching, truth)
    asked = sum(seen[before:]) - (2 + 1 / len(problem)) * draws * len(problem)  # ends, hash's row
    row = leaderboard([found]).iloc[0]
    assert row.evals <= 40
    assert row.model_rows == pytest.approx(row.evals * draws)
    assert abs(asked / len(problem) - row.model_rows) < 1


def test_a_false_claim_of_evaluations_changes_no_count() -> None:
    problem = box()

    class Boaster:
        def explain(self, x) -> Explanation:
            return dataclasses.replace(exact_shapley(problem.game(x)), n_evals=3)

    row = leaderboard([evaluate(Boaster(), problem, ground_truth(problem))]).iloc[0]
    assert (row.evals, row.evals_claimed) == (64, 3)


def test_what_was_not_seen_is_unknown_and_not_free() -> None:
    problem = box()
    answer = exact_shapley(problem.game())

    class Silent:
        def explain(self, x) -> Explanation:
            return answer

    row = leaderboard([evaluate(Silent(), problem, ground_truth(problem))]).iloc[0]
    assert np.isnan(row.evals)


def test_another_models_explanation_is_refused() -> None:
    mine, other = box(0), box(0)
    other = dataclasses.replace(
        other,
        game_factory=lambda x: MaskedGame(network(1), x, mine.imputer, description="another net"),
    )
    with pytest.raises(NotComparable, match="another net"):
        evaluate(sampled("exact_shapley"), other, ground_truth(mine))


def test_selection_probabilities_are_no_shapley_values() -> None:
    problem = box()

    class Selector:
        def explain(self, x) -> Explanation:
            return Explanation(torch.rand(len(x), 6, 2), estimand="selection")

    with pytest.raises(NotComparable, match="insertion, deletion, infidelity"):
        evaluate(Selector(), problem, ground_truth(problem))
    found = evaluate(Selector(), problem, None, games={"baseline": problem.game})
    row = leaderboard([found]).iloc[0]
    assert np.isfinite([row.insertion_baseline, row.deletion_baseline]).all()
    assert np.isnan(row.mse)


def test_truth_and_contenders_never_share_a_generator() -> None:
    problem = box()
    keys = [
        *(
            truth_generator(problem.content_hash, s, r, h)
            for s in (0, 1)
            for r in (0, 1)
            for h in (0, 1)
        ),
        *(contender_generator(problem.content_hash, s, r) for s in (0, 1) for r in (0, 1)),
    ]
    assert len({g.initial_seed() for g in keys}) == len(keys)


def test_repeats_differ_by_seed_and_evaluations_do_not() -> None:
    problem = airport(20, b=6)
    truth = ground_truth(problem)
    contender = sampled("permutation_shapley", 100)
    once, again = (evaluate(contender, problem, truth, repeats=3) for _ in range(2))
    assert (once.scores["squared_error"] == again.scores["squared_error"]).all()
    assert len({float(v) for v in once.scores["squared_error"].mean(1)}) == 3
    assert once.mean("seed_sensitivity") > 0
    tables = [leaderboard([one]).drop(columns=list(UNREPEATED)) for one in (once, again)]
    pd.testing.assert_frame_equal(*tables)


def test_ranks_stay_within_one_game() -> None:
    found = []
    for problem in (airport(20, b=6), unanimity_sum(20, b=6)):
        truth = ground_truth(problem)
        for budget in (60, 600):
            contender = sampled("permutation_shapley", budget)
            found.append(evaluate(contender, problem, truth, name=f"at {budget}"))
    table = leaderboard(found)
    assert table.groupby("problem")["rank"].apply(sorted).tolist() == [[1, 2], [1, 2]]
    assert (table[table["rank"] == 1].method == "at 600").all()
    behind = table[table["rank"] == 2]
    assert (behind.gap_to_best_lo > 0).all()
    with pytest.raises(ValueError, match="different games"):
        paired_difference(found[0], found[2])


def test_paired_intervals_are_narrower_than_their_parts() -> None:
    problem = airport(20, b=32)
    truth = ground_truth(problem)
    one, two = (
        evaluate(Planted(airport(12, b=32), lambda v, s=s: v + s), airport(12, b=32), None)
        for s in (0.0, 0.1)
    )
    assert one.game_id == two.game_id
    scores = [evaluate(sampled("permutation_shapley", m), problem, truth) for m in (100, 110)]
    gap = paired_difference(*scores)
    apart = sum(s.interval("squared_error").high - s.interval("squared_error").low for s in scores)
    assert gap.high - gap.low < apart


def test_sampled_truth_marks_errors_at_its_floor() -> None:
    problem = dataclasses.replace(unanimity_sum(18, b=8), known=None)
    truth = ground_truth(problem, budget=1500)

    class Oracle:
        def explain(self, x) -> Explanation:
            return unanimity_sum(18, b=8).known(x)  # pyright: ignore[reportOptionalCall]

    row = leaderboard([evaluate(Oracle(), problem, truth)]).iloc[0]
    assert row.at_floor
    assert row.mse_lo <= 0 <= row.mse_hi
    assert row.truth_kind == "sampled"
    assert row.spearman_ceiled == pytest.approx(1, abs=0.05)


def test_the_table_has_one_schema_and_survives_parquet(tmp_path) -> None:
    problem = box()
    found = [
        evaluate(sampled("exact_shapley"), problem, ground_truth(problem)),
        evaluate(sampled("exact_shapley"), problem, None, name="unjudged"),
    ]
    table = leaderboard(found)
    assert tuple(table.columns) == COLUMNS
    assert (table.dtypes == leaderboard(found[1:]).dtypes).all()
    table.to_parquet(tmp_path / "leaderboard.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "leaderboard.parquet"), table)


class Additive(torch.nn.Module):
    """A model that explains itself: logits are sums over the players that are present."""

    def __init__(self, lie: float = 1.0) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(torch.tensor([[1.0, -1], [2, 0], [0, 3]]).double())
        self.lie = lie

    def forward(self, x, present=None) -> torch.Tensor:
        present = torch.ones_like(x, dtype=torch.bool) if present is None else present
        return (x * present) @ self.weights

    def explain(self, x) -> Explanation:
        self(x)
        return Explanation(
            (self.lie * x[..., None] * self.weights).detach(),
            game="additive net with presence flags",
            method="Additive",
            exact=True,
            base_values=torch.zeros(len(x), 2).double(),
        )


def test_a_model_that_explains_itself_is_own_on_a_problem_made_by_hand() -> None:
    model = Additive()
    rows = torch.randn(9, 3, generator=torch.Generator()).double()
    problem = Problem("by hand", rows, None, lambda x: PresenceGame(model, x))
    row = leaderboard([evaluate(model, problem, ground_truth(problem))]).iloc[0]
    assert (row.explains, row.evals) == ("own", 1)
    assert row.mse < 1e-24


@pytest.mark.parametrize(("lie", "error"), [(1.0, 0.0), (1.1, 1e-3)])
def test_a_self_explaining_model_is_judged_on_its_own_game(lie, error) -> None:
    model = Additive(lie)
    problem = own_problem(model, torch.randn(9, 3, generator=torch.Generator()).double())
    truth = ground_truth(problem)
    table = leaderboard(
        [
            evaluate(model, problem, truth),
            evaluate(sampled("exact_shapley"), problem, truth, name="enumeration"),
        ]
    ).set_index("method")
    assert table.explains.to_dict() == {"Additive": "own", "enumeration": "box"}
    assert table.loc["Additive", "evals"] == 1
    assert table.loc["enumeration", "evals"] == 8
    assert table.loc["Additive", "mse"] >= error
    assert table.loc["enumeration", "mse"] < 1e-24
    if not error:
        assert table.loc["Additive", "mse"] < 1e-24


def test_content_hashes_follow_content() -> None:
    def hashed(**change) -> str:
        return dataclasses.replace(box(), content_hash="", **change).content_hash

    problem = box()
    same = box()
    assert problem.content_hash == same.content_hash
    other = network(3)
    changes = [
        {"x": problem.x + 1e-9},
        {"name": "another"},
        {"players": tuple("abcdef")},
        {"scale": "probability"},
        {"game_factory": lambda x: MaskedGame(other, x, problem.imputer)},
    ]
    assert len({problem.content_hash, *(hashed(**change) for change in changes)}) == 6


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"game_factory": 3}, TypeError, "game_factory"),
        ({"x": torch.zeros(0, 6)}, ValueError, "no rows"),
        ({"y": [1]}, ValueError, "1 labels for 12 rows"),
        ({"scale": "log"}, ValueError, "scale='log'"),
        ({"task": "ranking"}, ValueError, "task='ranking'"),
        ({"explains": "mine"}, ValueError, "explains='mine'"),
    ],
)
def test_a_problem_refuses_what_it_cannot_be(change, error, says) -> None:
    with pytest.raises(error, match=says):
        dataclasses.replace(box(), content_hash="", **change)


def test_evaluate_refuses_what_does_not_explain() -> None:
    problem = box()
    truth = ground_truth(problem)
    with pytest.raises(TypeError, match="without explain"):
        evaluate(3, problem, truth)
    with pytest.raises(ValueError, match="repeats=0"):
        evaluate(sampled("exact_shapley"), problem, truth, repeats=0)

    class Half:
        def explain(self, x) -> Explanation:
            return exact_shapley(problem.game(x[:3]))

    with pytest.raises(ValueError, match="explained 3 explicands of 12"):
        evaluate(Half(), problem, truth)
    with pytest.raises(ValueError, match="empty"):
        leaderboard([])


def test_a_games_own_factory_may_take_no_explicands() -> None:
    problem = box()
    game = problem.game_factory(problem.x)
    whole = Problem("whole", problem.x, None, lambda: game)
    truth = exact_shapley(whole.game())
    assert evaluate(sampled("exact_shapley"), whole, truth).mean("squared_error") == 0


def test_every_contender_of_the_table_explains() -> None:
    problem = unanimity_sum(5, b=2)
    truth = ground_truth(problem)
    words = "no examples"
    unfit = {"itself": "black box", "amortized": words, "amortized+2": words}
    for name, contender in contender_table().items():
        if name in unfit:
            with pytest.raises(ValueError, match=unfit[name]):
                contender(problem)
            continue
        assert evaluate(contender, problem, truth, name=name).method == name


GUEST = """
from baselines.explanation import Explanation
from baselines.exact import exact_shapley


class Twice:
    def __init__(self, problem):
        self.problem = problem

    def explain(self, x):
        return Explanation(2 * exact_shapley(self.problem.game(x)).values, method="twice")


def explainer(problem):
    return Twice(problem)
"""


def test_a_users_own_file_joins_the_leaderboard(tmp_path) -> None:
    (tmp_path / "mine.py").write_text(GUEST)
    contender = contender_from(f"{tmp_path / 'mine.py'}:explainer")
    problem = box()
    truth = ground_truth(problem)
    row = leaderboard([evaluate(contender, problem, truth)]).iloc[0]
    assert row.method == "twice"
    assert row.relative_error == pytest.approx(1)
    assert row.evals == 64
    with pytest.raises(ValueError, match="no 'other'"):
        contender_from(f"{tmp_path / 'mine.py'}:other")
    with pytest.raises(FileNotFoundError, match=r"yours\.py"):
        contender_from(f"{tmp_path / 'yours.py'}:explainer")
    (tmp_path / "broken.py").write_text("def explainer(:")
    with pytest.raises(ValueError, match=r"broken\.py is no valid Python"):
        contender_from(f"{tmp_path / 'broken.py'}:explainer")
    with pytest.raises(ValueError, match="contender 'magic' is unknown"):
        contender_from("magic")
    assert contender_from("baselines.exact:exact_shapley") is exact_shapley


@pytest.mark.parametrize("guest", ["mine.py:explainer", "mine.py", "nobody@9"])
def test_a_guest_that_cannot_be_found_is_refused_before_anything_is_planned(guest, tmp_path):
    with pytest.raises((FileNotFoundError, ValueError), match=guest.split(":")[0]):
        judge_problem("synthetic/airport", tmp_path / "run", rows=2, guest=guest, progress=False)
    assert not (tmp_path / "run").exists()


def test_curves_are_drawn_under_every_absence_a_problem_has() -> None:
    problem = box()
    background = torch.randn(20, 6, generator=torch.Generator().manual_seed(2)).double()
    known = dataclasses.replace(problem, background=background, content_hash="")
    assert set(removal_games(problem)) == {"own"}
    games = removal_games(known)
    assert set(games) == {"own", "baseline", "marginal", "conditional"}
    table = leaderboard(
        [
            evaluate(sampled("exact_shapley"), known, None, name="best", games=games),
            evaluate(Planted(known, lambda v: -v), known, None, name="worst", games=games),
        ]
    ).set_index("method")
    for name in games:
        assert table.loc["best", f"deletion_{name}"] < table.loc["worst", f"deletion_{name}"]
        assert table.loc["best", f"insertion_{name}"] > table.loc["worst", f"insertion_{name}"]
    assert (table.imputer_rank_tau == 1).all()


def test_an_order_that_the_imputer_decides_has_a_low_tau() -> None:
    def rows(*scores: tuple[float, float]) -> list[dict[str, float]]:
        return [{"deletion_own": a, "deletion_marginal": b} for a, b in scores]

    assert imputer_rank_tau(rows((1, 1), (2, 2), (3, 3))) == 1
    assert imputer_rank_tau(rows((1, 3), (2, 2), (3, 1))) == -1
    assert np.isnan(imputer_rank_tau(rows((1, 3))))


def test_public_functions_stay_functions_whatever_is_imported() -> None:
    for module in ("evaluation", "standings", "truth", "contenders", "problems"):
        importlib.import_module(f"bench.{module}")
    named = {name: getattr(bench, name) for name in ("evaluate", "leaderboard", "ground_truth")}
    assert all(callable(function) for function in named.values())
