"""Games of maxima and the MaxSim explainer: closed forms against enumeration."""

import itertools

import pytest
import torch

from baselines import TableGame
from baselines.coalitions import all_coalitions
from baselines.exact import exact_shapley
from harsanyi import MaxSim
from harsanyi.maxima import joint_maximum_shapley, maximum_derivatives, maximum_shapley
from harsanyi.quadrature import legendre_rule

F64 = torch.float64


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def best_in(scores, sets, floor):
    """max(floor, largest score present) `(rows, 2**n)`."""
    inside = torch.where(sets, scores[:, None], torch.tensor(-torch.inf, dtype=F64))
    return inside.amax(-1).clamp(min=floor)


@pytest.mark.parametrize("floor", [0.0, -0.5, 0.7, -10.0])
def test_shares_of_a_maximum_equal_enumeration(floor):
    scores = draw(4, 8)
    scores[1, 2] = scores[1, 5]  # ties
    values = best_in(scores, all_coalitions(8), floor)
    truth = exact_shapley(TableGame(values[..., None])).values[..., 0]
    assert (maximum_shapley(scores, floor) - truth).abs().max() <= 1e-12
    by_nodes = maximum_derivatives(scores, torch.full((4,), floor, dtype=F64), legendre_rule(4))
    assert (by_nodes - truth).abs().max() <= 1e-12


def test_shares_with_both_sides_playing_equal_enumeration():
    scores = draw(3, 4, seed=1)
    sets = all_coalitions(7)
    rows = [
        (best_in(scores, sets[s : s + 1, 3:], 0.0)[:, 0] * sets[s, :3]).sum() for s in range(2**7)
    ]
    truth = exact_shapley(TableGame(torch.stack(rows)[None, :, None])).values[0, :, 0]
    askers, offerers = joint_maximum_shapley(scores)
    assert (torch.cat([askers, offerers]) - truth).abs().max() <= 1e-12


def search():
    return MaxSim(floor=-1.0), draw(3, 5, seed=2), [draw(6, 5, seed=3), draw(4, 5, seed=4)]


def test_the_explanation_is_exact_for_vectors_kept_in_the_index():
    model, query, documents = search()
    e = model.explain(query, documents)
    assert e.exact
    assert e.values.shape == (2, 6, 1)
    for row, document in enumerate(documents):
        n = len(document)
        sets = all_coalitions(n)
        table = torch.stack([model.score(query, [document], [s.tolist()])[0] for s in sets])
        truth = exact_shapley(TableGame(table[None, :, None]))
        assert (e.values[row, :n] - truth.values[0]).abs().max() <= 1e-12
        assert (e.base_values[row] - truth.base_values[0]).abs().max() <= 1e-12
    assert not e.values[1, 4:].any()


def test_values_add_up_to_the_score():
    model, query, documents = search()
    e = model.explain(query, documents)
    scores = model.score(query, documents)
    assert (e.values.sum((1, 2)) + e.base_values[:, 0] - scores).abs().max() <= 1e-12
    both = MaxSim().explain(query, documents, players="both")
    assert (both.values.sum((1, 2)) - MaxSim().score(query, documents)).abs().max() <= 1e-12


def test_substitutes_interact_negatively_and_as_enumeration_says():
    model, query, documents = search()
    found, n = model.interactions(query, documents[1]), 4
    sets = all_coalitions(n)
    table = torch.stack([model.score(query, [documents[1]], [s.tolist()])[0] for s in sets])
    for i in range(n):
        has = (torch.arange(2**n) >> i) & 1 == 1
        table[has] = table[has] - table[(torch.arange(2**n) - 2**i)[has]]
    for i, j in itertools.combinations(range(n), 2):
        both = sets[:, i] & sets[:, j]
        wanted = (table[both] / (sets[both].sum(1) - 1)).sum()
        assert float(found[i, j]) == pytest.approx(float(wanted), abs=1e-12)
        assert found[i, j] <= 1e-12


def test_texts_are_encoded_and_named():
    words = {"good": [1.0, 0.0], "film": [0.0, 1.0], "great": [0.9, 0.1]}

    def encode(text):
        tokens = text.split()
        return tokens, torch.tensor([words[t] for t in tokens])

    model = MaxSim(encode)
    e = model.explain("good", ["great film", "film"])
    assert e.players == [("great", "film"), ("film",)]
    assert e.values[0, 0] > 0.9
    assert [i for i, _ in model.rank("good", ["film", "great film"])] == [1, 0]


def test_what_cannot_be_scored_is_refused_by_name():
    model, query, documents = search()
    with pytest.raises(ValueError, match="documents is empty"):
        model.explain(query, [])
    with pytest.raises(ValueError, match="encode"):
        model.explain("a text", documents)
    with pytest.raises(ValueError, match="encode both alike"):
        model.explain(query[:, :3], documents)
    with pytest.raises(ValueError, match="finite"):
        model.explain(query * torch.nan, documents)
    with pytest.raises(ValueError, match="players"):
        model.explain(query, documents, players="all")
    with pytest.raises(ValueError, match="floor=0"):
        model.explain(query, documents, players="both")
    with pytest.raises(ValueError, match=r"present\[0\]"):
        model.score(query, documents, [[True], *([True] * len(one) for one in documents[1:])])
    with pytest.raises(ValueError, match="present has 1 rows"):
        model.score(query, documents, [[True]])
    with pytest.raises(TypeError, match="flags"):
        model.score(query, documents[:1], [["no"] * len(documents[0])])
    with pytest.raises(ValueError, match="floor is nan"):
        MaxSim(floor=float("nan"))
    with pytest.raises(ValueError, match="query has 1 tokens and 3 vectors"):
        model.explain((["one"], torch.ones(3, 4)), documents)


def test_vectors_may_keep_their_lengths():
    query, document = torch.tensor([[3.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 9.0]])
    assert MaxSim(normalise=False).score(query, [document]).tolist() == [6.0]
    assert MaxSim().score(query, [document]).tolist() == [1.0]


def test_vectors_of_two_precisions_meet_in_the_wider():
    model, query, documents = search()
    mixed = model.explain(query.float(), documents)
    assert mixed.values.dtype == torch.float64
    assert (mixed.values - model.explain(query, documents).values).abs().max() <= 1e-6
