"""Laws of the studies of amortized text explainers: what they count, and that they are reachable."""

import dataclasses
from functools import partial

import numpy as np
import pytest
import torch

from amortized import AmortizedExplainer
from baselines.explanation import Explanation
from bench import text_bench, text_energy, text_transfer
from bench.costs import count_flops
from bench.paper_amortized import calibration_lines, energy_lines
from bench.paper_text import cpu_in_turns, speed
from bench.problems.text_data import TextData, load_texts
from bench.text_bench import Bench, unseen_texts
from bench.text_calibration import KINDS, calibration, forest, kind_of, worth_of_kinds
from bench.text_energy import NOT_MEASURABLE, energy
from bench.text_transfer import transfer
from tests.test_amortized import words
from tests.test_text import text_model


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    given = list(dict.fromkeys(words(90)))
    made = Bench("templates/bert2", text_model(), given[:60], given[60:], None, folder, epochs=1)
    made.explainer(made.labels()).save_pretrained(folder / "explainer")
    return made


def test_every_word_has_one_kind() -> None:
    said = {"isn't": "negation", "Not,": "negation", "but": "contrast", "the": "function word"}
    said |= {"1984": "number or mark", "--": "number or mark", "film.": "other word"}
    for word, kind in said.items():
        assert kind_of(word) == kind
        assert kind in KINDS


def test_values_of_the_decision_are_summed_by_kind_and_sign() -> None:
    values = torch.zeros(2, 3, 2)
    values[0, :, 1] = torch.tensor([0.5, -2.0, 1.5])
    values[1, :1, 0] = 4.0
    players = [("not", "good", "film"), ("not",)]
    said = Explanation(
        values,
        players=players,
        player_mask=torch.tensor([[True] * 3, [True, False, False]]),
        outputs=["no", "yes"],
    )
    found = worth_of_kinds(said, torch.tensor([1, 0]))
    negation, other, kinds = KINDS.index("negation"), KINDS.index("other word"), len(KINDS)
    assert found[0, negation] == 0.5
    assert found[0, other] == 1.5
    assert found[0, kinds + other] == -2.0
    assert found[1, negation] == 4.0
    assert found[1].sum() == 8.0  # and the largest value
    assert tuple(found[0, -3:-1]) == (1.5, -2.0)


def test_a_forest_tells_by_what_tells_and_by_nothing_else() -> None:
    rng = np.random.default_rng(0)
    right = rng.random(300) < 0.7
    noise = rng.standard_normal((300, 4))
    told = np.concatenate([noise, (right + rng.standard_normal(300))[:, None]], axis=1)
    settings = {"train": 150, "splits": 4, "trees": 40}
    blind, seeing = forest(noise, right, **settings), forest(told, right, **settings)
    assert abs(blind["auroc"] - 0.5) < 0.12
    assert seeing["auroc"] > 0.65
    assert seeing["right_at_25"] > seeing["right_at_75"] > right.mean()


def test_calibration_judges_every_set_of_features_on_the_same_texts(bench) -> None:
    found = calibration(bench, texts=60, splits=2, trees=10, pairs=(1,))
    assert found["texts"] == 60
    assert found["learned_from"] == 30
    spent = {name: one["evaluations"] for name, one in found["features"].items()}
    assert spent.pop("1 fresh pairs") > 0
    assert spent == {"probabilities": 0, "kinds of words": 0, "one pass": 0}
    page = "\n".join(calibration_lines({"templates/bert2": found}))
    assert page.count("| templates/bert2 |") == 4


def test_the_account_of_a_training_counts_labels_and_steps(bench) -> None:
    found = energy(bench, evaluations=64, probe=4)
    flops = found["flops"]
    assert flops["pair"] < flops["sampler"]
    whole = sum(found["training_flops"].values())
    saved = flops["sampler"] - flops["pass"]
    assert found["break_even"]["sampler"] == pytest.approx(whole / saved)
    page = "\n".join(energy_lines({"templates/bert2": found}))
    assert page.count("| templates/bert2 |") == 5


def test_training_costs_in_proportion_to_its_passes(bench) -> None:
    made = AmortizedExplainer.from_pretrained(bench.folder / "explainer", model=bench.model)
    once = text_energy.training_flops(made, bench, 1e6)
    made.config.measures = {**made.config.measures, "epochs": 5 * made.config.measures["epochs"]}
    more = text_energy.training_flops(made, bench, 1e6)
    assert more["steps"] == pytest.approx(5 * once["steps"])
    assert more["labels"] == once["labels"]
    forward = count_flops(lambda: made.explain(bench.train[:32])) / 32
    each = once["steps"] / made.config.measures["examples"]
    assert 2 * forward < each < 6 * forward  # backwards costs twice forwards


def test_joules_are_not_invented(monkeypatch) -> None:
    monkeypatch.setattr("bench.costs._energy", lambda: float("nan"))
    assert text_energy.joules(lambda: None) == NOT_MEASURABLE
    readings = iter([10.0, 12.5])
    monkeypatch.setattr("bench.costs._energy", lambda: next(readings))
    assert text_energy.joules(lambda: None) == 2.5


def test_an_untrained_explainer_has_no_account(bench, tmp_path) -> None:
    bare = dataclasses.replace(bench, folder=tmp_path)
    AmortizedExplainer.from_target(bench.model).save_pretrained(tmp_path / "explainer")
    with pytest.raises(ValueError, match="run quality first"):
        energy(bare)


def test_an_explainer_of_single_texts_is_judged_on_pairs_under_its_own_target(
    bench, monkeypatch
) -> None:
    given = words(12, seed=5)
    pairs = list(zip(given, words(12, seed=6), strict=True))
    sets = {"pairs": pairs, "singles": given}
    monkeypatch.setattr(
        text_transfer, "load_texts", lambda name, part: TextData(name, sets[name], None, ())
    )
    found = transfer(bench, ("pairs", "singles"))["sets"]
    assert list(found) == ["templates", "pairs", "singles"]
    assert found["pairs"]["players"] > found["singles"]["players"] + 1  # both texts play
    for one in found.values():
        assert one["relative_error"] == pytest.approx(one["amortized"]["mse"] / one["scale"])
        errors = [one["direct"][p]["mse"] for p in (1, 8)]
        assert errors[1] < errors[0]


def test_unseen_templates_are_neither_trained_on_nor_judged_on() -> None:
    judged = load_texts("templates", "test").first(80).texts
    found = set(unseen_texts("templates", judged, 300))
    assert len(found) == 300
    assert not found & {*load_texts("templates").texts, *load_texts("templates", "test").texts}


def test_unseen_pairs_share_no_text_with_those_that_are_judged_on(monkeypatch) -> None:
    pairs = [("a", "b"), ("a", "c"), ("d", "b"), ("e", "f")]
    given = TextData("snli", pairs, None, ())
    monkeypatch.setattr(text_bench, "load_texts", lambda name, part: given)
    assert unseen_texts("snli", [("a", "b")], 0) == [("e", "f")]


def test_fewer_texts_than_a_store_holds_are_the_labels_of_those_texts_alone(bench) -> None:
    assert len(bench.labels()) == 60
    few = bench.labels(7)
    assert list(few.examples) == bench.train[:7]
    game = bench.model(bench.train[:7])
    assert torch.allclose(few.grand, game(game.player_mask[:, None])[:, 0].float(), atol=1e-5)


def test_jobs_take_turns_and_short_ones_are_repeated(monkeypatch) -> None:
    turns: list[str] = []
    cost = {"a": 0.06, "b": 0.5, "c": 0.02}
    now = [0.0]

    def call(name: str) -> None:
        turns.append(name)
        now[0] += cost[name]

    monkeypatch.setattr("time.process_time", lambda: now[0])
    jobs = {"ac": [partial(call, "a"), partial(call, "c")], "b": [partial(call, "b")]}
    found = cpu_in_turns(jobs, 2, span=0.2)
    assert found == pytest.approx({"ac": 0.08, "b": 0.5})
    assert "".join(turns) == "ab" + 2 * ("acacac" + "b")


def test_speed_ups_are_ratios_of_the_times_beside_them(bench, monkeypatch) -> None:
    monkeypatch.setattr("bench.paper_text.find_spec", lambda name: None)
    found = speed(bench, evaluations=16, rounds=1)
    for name in ("pass_1", "pass_64", "explain_1", "explain_64", "pass_64_bf16"):
        assert found[f"speed_up_{name}"] == found["sampler"] / found[name]
    assert found["pass_64"] < found["pass_1"] < found["explain_1"]
