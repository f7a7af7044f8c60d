"""Laws of sequential unmasking: it sees only what it shows, so it cannot leak."""

import numpy as np
import pytest
import torch

from amortized import SequentialUnmasking


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 4))
    y = np.where(x[:, 2] > 0, "up", "down")
    return (
        SequentialUnmasking(4, 2, 2, width=16).fit(
            x, y, epochs=60, predictor_epochs=30, batch_size=100
        ),
        x,
        y,
    )


def test_the_feature_that_tells_is_revealed_first(fitted):
    model, x, y = fitted
    rows = torch.from_numpy(x).float()
    assert (model.order(rows)[:, 0] == 2).float().mean() > 0.95
    guessed = np.array(model.classes)[model.predict_proba(x).argmax(1).numpy()]
    assert (guessed == y).mean() > 0.93


def test_rows_that_agree_on_what_was_revealed_get_the_same_selection(fitted):
    """The reversal test: no value that is not shown may move a selection."""
    trained, x, _ = fitted
    untrained = SequentialUnmasking(4, 2, 2, width=16).eval()
    with torch.no_grad():
        untrained.policy.head.weight.mul_(100)  # so that it goes by what it sees, not by its bias
    for model in (trained, untrained):
        mode = model.explain(x).diagnostics["mode"][..., 0].numpy()
        moved = np.where(mode, x, -x + 3)
        assert (model.explain(moved).diagnostics["mode"][..., 0].numpy() == mode).all()
    seen = {tuple(row) for row in untrained.explain(x).values[..., 0].tolist()}
    assert len(seen) > 1  # what was revealed first does decide what is revealed next


def test_every_player_is_revealed_once(fitted):
    model, x, _ = fitted
    order = model.order(torch.from_numpy(x[:20]).float())
    assert (order.sort(-1).values == torch.arange(4)).all()
    e = model.explain(x[:20])
    assert e.estimand == "selection"
    assert (e.values.sum(1) == 2).all()


def test_a_forbidden_feature_is_never_read():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(60, 3))
    model = SequentialUnmasking(3, 2, 1, groups=torch.tensor([-1, 0, 1]), width=8)
    model.fit(x, (x[:, 0] > 0).astype(int), epochs=1, predictor_epochs=1)
    other = x.copy()
    other[:, 0] += 5
    assert torch.equal(model.predict_proba(x), model.predict_proba(other))
    assert model.explain(x).shape == (60, 2, 1)


def test_a_saved_model_comes_back(fitted, tmp_path):
    model, x, _ = fitted
    model.save_pretrained(tmp_path)
    again = SequentialUnmasking.from_pretrained(tmp_path)
    assert torch.equal(again.predict_proba(x), model.predict_proba(x))
    assert again.classes == ["down", "up"]
    config = tmp_path / "config.json"
    text = config.read_text()
    config.write_text(text.replace("down", "left"))
    with pytest.raises(ValueError, match="not the one that the weights were saved with"):
        SequentialUnmasking.from_pretrained(tmp_path)
    config.write_text(text)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    with pytest.raises(ValueError, match="no complete unmasking model"):
        SequentialUnmasking.from_pretrained(tmp_path)
    weights.unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        SequentialUnmasking.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: SequentialUnmasking(3, 2, 4), "k=4"),
        (lambda: SequentialUnmasking(3, 2, 1, groups=torch.tensor([0, 1])), "groups name 2"),
        (lambda: SequentialUnmasking(3, 2, 1).fit(np.zeros((0, 3)), []), "0 rows"),
        (lambda: SequentialUnmasking(3, 2, 1).fit(np.zeros((4, 3)), [0] * 4), "n_classes=2"),
        (lambda: SequentialUnmasking(3, 2, 1).explain(np.full((1, 3), np.nan)), "NaN"),
        (lambda: SequentialUnmasking(3, 2, 1).explain(np.zeros((1, 1))), r"takes \(b, 3\)"),
    ],
)
def test_impossible_requests_are_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_fitting_again_keeps_the_classes():
    x = np.random.default_rng(0).normal(size=(40, 3))
    y = np.where(x[:, 0] > 0, "up", "down")
    model = SequentialUnmasking(3, 2, 1).fit(x, y, epochs=1, predictor_epochs=1)
    seen = y == "up"
    model.fit(x[seen], y[seen], epochs=1, predictor_epochs=1)
    assert model.classes == ["down", "up"]
