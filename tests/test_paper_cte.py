"""Laws of the compress-then-explain comparison: one set of calls stands for every background."""

import numpy as np
import torch

from baselines import MarginalImputer, MaskedGame, leverage_shap
from bench.paper_cte import Comparison, Judge, RowsGame, write_report


def normal(*size: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*size, generator=generator, dtype=torch.float64)


def model(rows: torch.Tensor) -> torch.Tensor:
    return rows.sum(-1).tanh() + rows[:, 0] * rows[:, 1]


def test_values_of_single_rows_average_to_those_of_any_background():
    x, rows = normal(2, 5), normal(20, 5, seed=1)
    each = leverage_shap(RowsGame(model, x, rows), 20).values
    for index, weights in (
        (torch.arange(7), None),
        (torch.arange(3), torch.tensor([5, 3, 2]).double() / 10),
    ):
        imputer = MarginalImputer(rows[index], weights)
        whole = leverage_shap(MaskedGame(model, x, imputer), 20).values[..., 0]
        kept = each[..., index]
        mean = kept.mean(-1) if weights is None else kept @ weights
        torch.testing.assert_close(mean, whole, rtol=0, atol=1e-10)


def test_a_judge_finds_no_error_in_the_whole_background_and_less_in_herded_rows():
    rows = normal(200, 4, seed=2)
    values = model(rows)[None, None] * torch.ones(2, 3, 1, dtype=torch.float64)
    judge = Judge(values, rows, np.random.default_rng(0))
    assert judge.compressed(200, "iid") < 1e-12
    assert judge.compressed(16, "herding") < judge.random(16)
    assert judge.random(64) < judge.random(4)


def test_equal_error_is_read_off_the_measured_curve_and_never_beyond_it():
    curve = {size: size**-0.5 for size in (16, 32, 64, 128, 256, 512)}
    words = {"table": "t", "kind": "mlp", "players": 3, "rows": 99, "others": {}}
    made = Comparison(iid=curve, herded={64: 256**-0.5}, **words)
    assert abs(made.gain - 2) < 1e-9
    assert abs(made.fewer_rows - 4) < 1e-9
    assert Comparison(iid=curve, herded={64: 1e-9}, **words).fewer_rows <= 8 + 1e-9
    boosted = Comparison(iid=curve, herded={64: 0.1}, **(words | {"kind": "boosted"}))
    text = write_report([made, boosted], 1.0, "python -m bench.paper_cte")
    assert "| t | 3 | mlp | 0.25 |" in text
    assert "| 2.0 | 4.0 |" in text
