"""An explainer of one's own in the leaderboard, without touching the harness.

    harsanyi bench examples/my_explainer.py:leave_one_out --problem synthetic/airport
    python examples/my_explainer.py

It need not be good. This one takes a player out of the full coalition and puts it into the empty
one, and calls the mean of the two changes its share: two of the many that a Shapley value averages.
What the harness asks of it is an `explain(x)` that returns an Explanation; evaluations are counted
where the game is asked, and error, interval and rank come from truth that the explainer never saw.
"""

import sys
from typing import Any

import torch
from torch import Tensor

from baselines import Explanation
from bench import Problem, evaluate, ground_truth, leaderboard, sampled


class LeaveOneOut:
    """First and last marginal contribution of each player, averaged.

    Args:
        problem: Whose game is asked.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def explain(self, x: Any) -> Explanation:  # noqa: ANN401 - whatever the problem holds
        """Values `(b, n, k)` from 2n + 2 coalitions, shared by all explicands."""
        game = self.problem.game(x)
        n = game.n_players
        one = torch.eye(n, dtype=torch.bool)
        ends = torch.tensor([[False], [True]]).expand(2, n)
        v: Tensor = game(torch.cat([ends, one, ~one])[None])  # (b, 2 + 2n, k)
        empty, full, alone, without = v[:, :1], v[:, 1:2], v[:, 2 : 2 + n], v[:, 2 + n :]
        return Explanation(
            ((alone - empty) + (full - without)) / 2,
            game=game.description,
            method="leave one out",
            base_values=v[:, 0],
            n_evals=2 * n + 2,
            players=self.problem.players,
        )


def leave_one_out(problem: Problem) -> LeaveOneOut:
    """The contender: a function from a Problem to something that explains."""
    return LeaveOneOut(problem)


def main(name: str = "synthetic/airport", rows: int = 8) -> Any:  # noqa: ANN401 - a frame
    """Judge it beside permutation sampling of about the same cost.

    Args:
        name: A named problem.
        rows: Explicands.

    Returns:
        The leaderboard.
    """
    from bench.problems.catalogue import named_problem
    from bench.report_tables import leaderboard_table

    problem = named_problem(name, b=rows)
    truth = ground_truth(problem)
    budget = max(4 * (problem.game().n_players + 1), 8)
    contenders = {
        "leave one out": leave_one_out,
        f"permutation @ {budget}": sampled("permutation_shapley", budget),
    }
    board = leaderboard(
        [evaluate(made, problem, truth, name=label) for label, made in contenders.items()]
    )
    from rich.console import Console

    Console().print(leaderboard_table(board).rich())
    return board


if __name__ == "__main__":
    main(*sys.argv[1:2])
