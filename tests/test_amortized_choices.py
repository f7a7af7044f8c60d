"""Laws of what a user of amortized explainers may choose and give: each choice does what it says,
and what cannot be is refused by name."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from amortized import AmortizedExplainer, LabelStore
from amortized.adapters import adapter_settings
from amortized.conformal import half_widths
from amortized.encoders import ImageEncoder, RowEncoder, make_encoder
from amortized.examples import as_examples
from amortized.labelled import Labels
from amortized.pairs import pair_orders, pair_sums
from baselines import Explanation, exact_shapley
from tests.label_games import WordCounts, some_rows, some_texts, table_games, triple_games
from tests.test_amortized import words
from tests.test_text import text_model

ONE = {"progress": False, "epochs": 1}


@pytest.fixture(scope="module")
def games():
    return triple_games()


@pytest.fixture(scope="module")
def labels(games):
    return Labels.now(games, some_rows(120), 2)


def chosen_outputs(games, x) -> tuple[torch.Tensor, torch.Tensor]:
    """Exact values and v(none) of the output that is largest when everybody is there."""
    truth = exact_shapley(games(x))
    grand = truth.base_values + truth.values.sum(1)
    best = grand.argmax(-1)[:, None]
    base = truth.base_values.gather(1, best)
    return truth.values.gather(2, best[:, None].expand(-1, 6, 1)), base


def test_an_explainer_of_the_decision_refines_to_the_values_of_the_largest_output(games, labels):
    made = AmortizedExplainer.from_target(
        games, some_rows(60), classes="predicted", ends="exact", normalizer="additive"
    ).fit(labels, **ONE)
    x = some_rows(12, seed=5)
    values, base = chosen_outputs(games, x)
    said = made.explain(x)
    assert said.outputs == ["predicted class"]
    assert said.n_evals == 2
    assert said.base_values.numpy() == pytest.approx(base.numpy(), abs=1e-5)
    total = said.values.sum(1).numpy()
    assert total == pytest.approx(values.sum(1).numpy(), abs=1e-4)
    refined = made.explain(x, refine=20).values  # dearer than all 64 coalitions
    assert refined.numpy() == pytest.approx(values.numpy(), abs=1e-4)
    steadied = made.explain(x, refine=400, unbiased=True)
    z = (steadied.values - values) / steadied.std_errors
    assert float(z.square().mean()) < 2


def test_without_predicted_errors_every_interval_of_an_output_is_equally_wide(games, labels):
    made = AmortizedExplainer.from_target(games, some_rows(60), uncertainty=False)
    made.fit(labels, objective="mse", **ONE)
    held = some_rows(80, seed=3)
    made.calibrate(held, exact_shapley(games(held)), levels=(0.8,))
    said = made.explain(some_rows(200, seed=4), level=0.8)
    width = said.diagnostics["half_width"]
    assert said.std_errors is None
    assert torch.equal(width, width[:1, :1].expand_as(width))
    gap = (said.values - exact_shapley(games(some_rows(200, seed=4))).values).abs()
    assert 0.7 < float((gap <= width).double().mean()) < 0.9
    refined = made.explain(held[:5], refine=1)  # its error is that of held-out labels
    assert torch.isfinite(refined.std_errors).all()


def test_attention_between_players_never_sees_padding():
    made = AmortizedExplainer.from_target(text_model(), head="attention")
    given = words(7, seed=2)
    together = made.explain(given)
    for row, text in enumerate(given):
        alone = made.explain([text]).values[0]
        found = together.values[row, : len(alone)]
        assert found.numpy() == pytest.approx(alone.numpy(), abs=1e-5)
    rows = AmortizedExplainer.from_target(triple_games(), some_rows(8), head="attention")
    assert rows.explain(some_rows(3)).shape == (3, 6, 2)


def test_an_encoder_may_start_from_another_folder(tmp_path):
    model, other = text_model(), text_model("distilbert")
    other.network.base_model.save_pretrained(tmp_path)
    made = AmortizedExplainer.from_target(model, pretrained=tmp_path)
    theirs = dict(other.network.base_model.named_parameters())
    ours = dict(made.encoder.network.named_parameters())
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert list(made.explain(["good film"]).players) == [("good", "film")]


def test_pairs_of_texts_come_back_from_a_store_and_a_table_as_they_went_in(tmp_path):
    model = text_model()
    given = [("good film", "bad story"), ("not dull", "a long story"), ("great", "but bad")]
    LabelStore(tmp_path / "s").generate(model, given, 2, progress=False)
    labels = LabelStore(tmp_path / "s").labels()
    assert labels.examples == given
    said = labels.explanation().players
    assert [" ".join(players) for players in said] == [" ".join(both) for both in given]
    LabelStore(tmp_path / "s").to_parquet(tmp_path / "labels.parquet")
    frame = pd.read_parquet(tmp_path / "labels.parquet")
    assert list(zip(frame["text"], frame["text_pair"], strict=True)) == given
    made = AmortizedExplainer.from_target(model).fit(labels, validation=labels, **ONE)
    assert [len(one) for one in made.explain(given).players] == [4, 5, 3]


def test_rows_come_back_from_a_table_without_names_of_players(games, tmp_path):
    made = LabelStore(tmp_path / "s").generate(games, some_rows(6), 2, progress=False)
    made.to_parquet(tmp_path / "labels.parquet")
    frame = pd.read_parquet(tmp_path / "labels.parquet")
    assert "players" not in frame
    assert np.stack(frame["x"]) == pytest.approx(some_rows(6).numpy())
    assert made.labels().player_names() is None


@pytest.mark.parametrize("form", ["frame", "array", "whole numbers"])
def test_rows_of_any_container_are_the_same_examples(form):
    rows = torch.arange(12.0, dtype=torch.float64).view(4, 3)
    given = {
        "frame": pd.DataFrame(rows.numpy(), columns=list("abc")),
        "array": rows.numpy(),
        "whole numbers": rows.long(),
    }[form]
    assert torch.equal(as_examples(given).double(), rows)


def test_a_range_without_pairs_has_no_orders():
    assert pair_orders(0, 3, 2, 2).shape == (0, 3)


def test_one_text_is_one_example():
    assert as_examples("a good film") == ["a good film"]
    assert as_examples([["one", "two"]]) == [("one", "two")]


def test_a_model_may_come_with_loading_or_with_training(games, labels, tmp_path):
    made = AmortizedExplainer.from_target(games, some_rows(60)).fit(labels, **ONE)
    made.save_pretrained(tmp_path)
    x = some_rows(3, seed=8)
    again = AmortizedExplainer.from_pretrained(tmp_path, model=games)
    assert torch.equal(again.explain(x, refine=2).values, made.explain(x, refine=2).values)
    lonely = AmortizedExplainer.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"pass fit\(\.\.\., model=\.\.\.\)"):
        lonely.fit(some_rows(40), objective="fastshap", **ONE)
    with pytest.raises(ValueError, match=r"pass fit\(\.\.\., model=\.\.\.\)"):
        lonely.fit(labels, some_rows(9), **ONE)
    lonely.fit(some_rows(40), objective="fastshap", model=games, **ONE)
    assert lonely.model is games


def test_a_game_without_a_fingerprint_is_known_by_its_ends(games, labels):
    made = AmortizedExplainer.from_target(games, some_rows(30, seed=6))
    assert made.card.fingerprint != labels.card.fingerprint  # other examples were probed
    made.fit(labels, **ONE)
    assert made.card.fingerprint == labels.card.fingerprint
    other = AmortizedExplainer.from_target(triple_games(seed=1), some_rows(30, seed=6))
    with pytest.raises(ValueError, match="another fingerprint"):
        other.fit(labels, **ONE)


def test_a_penalty_draws_the_sum_of_values_to_the_difference_of_the_ends(games):
    from amortized.objectives import LeastSquares

    x = some_rows(200)
    gaps = []
    for penalty in (0.0, 30.0):
        made = AmortizedExplainer.from_target(games, x, uncertainty=False)
        made.fit(x, objective=LeastSquares(8, penalty), epochs=12, progress=False)
        held = some_rows(60, seed=9)
        ends = exact_shapley(games(held)).values.sum(1)
        gaps.append(float((made.explain(held).values.sum(1) - ends).square().mean()))
    assert gaps[1] < 0.5 * gaps[0]


def explained(values: torch.Tensor) -> Explanation:
    return Explanation(values, estimand="shapley")


SMALL = torch.zeros(3, 2, 1)
REFUSED = {
    "rows of no size": (lambda: RowEncoder(0, 1), ValueError, "n_features=0"),
    "an image of two axes": (lambda: ImageEncoder((8, 8), (2, 2)), ValueError, r"shape=\(8, 8\)"),
    "cells that do not fit": (
        lambda: ImageEncoder((1, 8, 8), (3, 2)),
        ValueError,
        "cannot be cut into",
    ),
    "another image": (
        lambda: ImageEncoder((1, 8, 8), (2, 2)).read(torch.zeros(2, 1, 4, 4)),
        ValueError,
        r"images have shape \(1, 4, 4\)",
    ),
    "an unknown encoder": (lambda: make_encoder({"kind": "sound"}), ValueError, "kind 'sound'"),
    "no rows to learn the shape from": (
        lambda: AmortizedExplainer.from_target(triple_games()),
        ValueError,
        "examples=None",
    ),
    "texts for a function": (
        lambda: AmortizedExplainer.from_target(WordCounts(), some_texts(4)),
        TypeError,
        "examples are texts; a TextModel",
    ),
    "a grid of other players": (
        lambda: AmortizedExplainer.from_target(
            lambda x: triple_games()(x.flatten(1)[:, :6]),
            torch.rand(4, 1, 4, 4),
            encoder={"grid": [2, 2]},
        ),
        ValueError,
        "the game 6 players",
    ),
    "an unknown head": (
        lambda: AmortizedExplainer.from_target(triple_games(), some_rows(4), head="tail"),
        ValueError,
        "head='tail'",
    ),
    "a head of positions without positions": (
        lambda: AmortizedExplainer.from_target(triple_games(), some_rows(4), head="flat"),
        ValueError,
        "padded=True",
    ),
    "adapters of rank 0": (
        lambda: adapter_settings(RowEncoder(2, 2), 0),
        ValueError,
        "lora=0",
    ),
    "a level above 1": (
        lambda: half_widths(explained(SMALL), explained(SMALL), [1.5]),
        ValueError,
        "level=1.5",
    ),
    "a truth of other examples": (
        lambda: half_widths(explained(SMALL), explained(torch.zeros(2, 2, 1)), [0.5]),
        ValueError,
        "explain the same examples",
    ),
    "as many keys as examples": (
        lambda: pair_sums(triple_games()(some_rows(2)), [1], [0], [1]),
        ValueError,
        "1 keys, 1 starts and 1 stops for 2 examples",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_by_name(case):
    call, error, said = REFUSED[case]
    with pytest.raises(error, match=said):
        call()


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"batch_size": 0}, ValueError, "batch_size=0"),
        ({"precision": "half"}, ValueError, "precision='half'"),
    ],
)
def test_a_pass_that_cannot_be_is_refused_by_name(settings, error, said, games):
    made = AmortizedExplainer.from_target(games, some_rows(8))
    with pytest.raises(error, match=said):
        made.explain(some_rows(2), **settings)


def test_examples_of_another_kind_or_width_are_refused_by_name(games, tmp_path):
    made = AmortizedExplainer.from_target(games, some_rows(8))
    with pytest.raises(TypeError, match=r"reads numbers \(b, \*features\), not texts"):
        made.explain(["a good film"])
    with pytest.raises(ValueError, match="rows have 4 features; this explainer knows 6"):
        made.explain(torch.zeros(2, 4))
    texts = AmortizedExplainer.from_target(text_model())
    texts.encoder.tokenizer = None
    with pytest.raises(ValueError, match="no tokenizer"):
        texts.explain(["a good film"])


def test_a_training_that_cannot_be_is_refused_by_name(games, labels):
    made = AmortizedExplainer.from_target(games, some_rows(8))
    with pytest.raises(TypeError, match="store is a Tensor"):
        made.fit(some_rows(20), objective="mse", **ONE)
    odd = AmortizedExplainer.from_target(games, some_rows(8), training={"epoch": 3})
    with pytest.raises(ValueError, match=r"training holds \['epoch'\]"):
        odd.fit(labels, **ONE)
    narrow = AmortizedExplainer.from_target(games, some_rows(8), classes="predicted")
    narrow.config.classes = "all"
    with pytest.raises(ValueError, match="labels have 2 outputs, the explainer 1"):
        narrow.fit(labels, **ONE)
    with pytest.raises(ValueError, match=r"validation=1e-09 of 120 labels leaves 120 .* and 0"):
        made.fit(labels, 1e-9, **ONE)


def test_a_store_says_what_is_missing_and_refuses_what_would_not_add_up(games, tmp_path):
    store = LabelStore(tmp_path / "s")
    with pytest.raises(ValueError, match="pairs=0"):
        store.plan(games, some_rows(4), 0)
    with pytest.raises(FileNotFoundError, match="call generate"):
        store.passes()
    with pytest.raises(FileNotFoundError, match="call generate"):
        _ = store.card
    waiting = LabelStore(tmp_path / "s")
    store.generate(games, some_rows(40), 2, progress=False)
    assert waiting.card == store.card  # another process made it meanwhile
    with pytest.raises(ValueError, match="std_error=0"):
        store.plan_second_pass(0)
    assert store.plan_second_pass(1e9) is None
    assert store.plan(games, some_rows(40), 2) is None
    assert store.plan(games, some_rows(40), 2, seed=1) is not None  # other draws, a pass more
    other = LabelStore(tmp_path / "o").generate(table_games(), some_rows(4), 2, progress=False)
    with pytest.raises(ValueError, match="another game"):
        other.merge(LabelStore(tmp_path / "o2").generate(games, some_rows(4), progress=False))
    with pytest.raises(ValueError, match="was planned for 'pairs'; this is 'function'"):
        other.run(table_games(), teacher=lambda x: exact_shapley(table_games()(x)))
    from amortized.label_reports import Checked

    assert not Checked({}).complete
    assert "no pass was planned" in str(Checked({}))


def test_a_store_of_another_format_or_with_changed_examples_is_refused(games, tmp_path):
    made = LabelStore(tmp_path).generate(games, some_rows(9), 2, progress=False)
    folder = tmp_path / "pass-000"
    table = folder / "examples.parquet"
    frame = pd.read_parquet(table)
    frame.assign(name=frame["name"].to_numpy()[::-1]).to_parquet(table)
    with pytest.raises(ValueError, match=r"the names in .* are not those of its manifest"):
        made.passes()
    frame.assign(stop=3).to_parquet(table)
    with pytest.raises(ValueError, match=r"the examples in .* are not those of its manifest"):
        made.passes()
    frame.to_parquet(table)
    save_file({"x": some_rows(8)}, folder / "x.safetensors")
    with pytest.raises(ValueError, match=r"the examples in .* are not those of its manifest"):
        made.passes()
    (folder / "x.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="lacks its examples"):
        made.passes()
    card = json.loads((tmp_path / "store.json").read_text())
    (tmp_path / "store.json").write_text(json.dumps(card | {"format": 0}))
    with pytest.raises(ValueError, match="not of format 1"):
        LabelStore(tmp_path)


def test_a_teacher_speaks_in_explanations_of_the_same_players(games, tmp_path):
    with pytest.raises(TypeError, match="teacher returned a Tensor"):
        LabelStore(tmp_path / "a").generate(games, some_rows(3), teacher=lambda x: x)

    def shorter(x):
        return explained(x.double()[:, :5, None].expand(-1, -1, 2).clone())

    with pytest.raises(ValueError, match="they must agree on who plays"):
        LabelStore(tmp_path / "b").generate(games, some_rows(3), teacher=shorter, progress=False)


def test_arguments_of_no_use_are_refused_by_name(games, labels):
    made = AmortizedExplainer.from_target(games, some_rows(8))
    x = some_rows(2)
    with pytest.raises(TypeError, match="examples is a NoneType"):
        made.explain(None)
    with pytest.raises(TypeError, match="examples is a int"):
        LabelStore("unused").plan(games, 3)
    for words_ in ({"refine": 1.5}, {"refine": "2"}, {"batch_size": None}):
        with pytest.raises(TypeError, match=f"{next(iter(words_))}="):
            made.explain(x, **words_)
    with pytest.raises(TypeError, match="generator=3"):
        AmortizedExplainer.from_target(games, some_rows(8), generator=3)
    for rate, error in ((float("nan"), ValueError), (-1e-3, ValueError), ("fast", TypeError)):
        with pytest.raises(error, match="lr="):
            made.fit(labels, lr=rate, **ONE)


def test_what_could_be_read_in_two_ways_is_refused():
    with pytest.raises(TypeError, match="two texts or one pair"):
        as_examples(("a premise", "a hypothesis"))
    with pytest.raises(TypeError, match="examples is a dict"):
        as_examples({"text": ["a good film"]})
    assert as_examples([("a premise", "a hypothesis")]) == [("a premise", "a hypothesis")]
