"""Laws of the answer: what it holds is checked, saved bit for bit, and handed to shap as it is."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from baselines import Explanation, TableGame, exact_shapley


@pytest.fixture
def full(generator):
    return Explanation(
        torch.randn(3, 4, 2, dtype=torch.float64, generator=generator),
        estimand="shapley",
        game="a table, logits",
        method="made up",
        base_values=torch.randn(3, 2, dtype=torch.float64, generator=generator),
        std_errors=torch.rand(3, 4, 2, dtype=torch.float64, generator=generator),
        n_evals=17,
        players=["age", "naïve <b>", "c", "d"],
        outputs=["no", "yes"],
        player_mask=torch.tensor([[True] * 4, [True] * 3 + [False], [True] * 4]),
        data=torch.randn(3, 4, generator=generator),
        diagnostics={"additivity_gap": torch.zeros(3, 2), "certified": torch.tensor([2, 1, 0])},
    )


def test_a_saved_explanation_is_read_back_bit_for_bit(full, tmp_path):
    full.save(tmp_path / "e.safetensors")
    back = Explanation.load(tmp_path / "e.safetensors")
    for field in ("values", "base_values", "std_errors", "player_mask", "data"):
        assert torch.equal(getattr(full, field), getattr(back, field)), field
    for field in ("estimand", "game", "method", "exact", "n_evals", "players", "outputs"):
        assert getattr(full, field) == getattr(back, field), field
    assert back.diagnostics.keys() == full.diagnostics.keys()
    assert all(torch.equal(back.diagnostics[k], full.diagnostics[k]) for k in full.diagnostics)


def test_a_fresh_process_reads_the_same_bytes(full, tmp_path):
    path = tmp_path / "e.safetensors"
    full.save(path)
    program = (
        "import sys; from baselines import Explanation\n"
        "e = Explanation.load(sys.argv[1]); e.save(sys.argv[2])"
    )
    again = tmp_path / "again.safetensors"
    subprocess.run([sys.executable, "-c", program, str(path), str(again)], check=True, timeout=120)
    assert again.read_bytes() == path.read_bytes()


def test_what_was_not_estimated_stays_none(tmp_path):
    Explanation(torch.zeros(1, 2, 1)).save(tmp_path / "e.safetensors")
    back = Explanation.load(tmp_path / "e.safetensors")
    assert back.std_errors is None
    assert back.base_values is None
    assert back.players is None


def test_ragged_players_are_named_row_by_row(tmp_path):
    e = Explanation(
        torch.zeros(2, 3, 1),
        players=[("a", "film"), ("not", "good", "!")],
        player_mask=torch.tensor([[True, True, False], [True, True, True]]),
    )
    e.save(tmp_path / "e.safetensors")
    back = Explanation.load(tmp_path / "e.safetensors")
    assert back.is_ragged
    assert back.player_names(1) == ("not", "good", "!")
    assert back.select([1]).player_names(0) == ("not", "good", "!")


@pytest.mark.parametrize("damage", ["truncate", "flip the header", "empty", "other content"])
def test_a_damaged_file_is_refused(full, tmp_path, damage):
    path = tmp_path / "e.safetensors"
    full.save(path)
    content = path.read_bytes()
    if damage == "truncate":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flip the header":
        path.write_bytes(b"\xff" * 8 + content[8:])
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        from safetensors.torch import save_file

        save_file({"values": torch.zeros(1, 1, 1)}, path)
    with pytest.raises(ValueError, match=r"truncated|format"):
        Explanation.load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.safetensors"):
        Explanation.load(tmp_path / "nothing.safetensors")


BAD = {
    "integers": ({"values": torch.zeros(1, 2, 1, dtype=torch.int64)}, TypeError, "floating"),
    "a list": ({"values": [[0.0]]}, TypeError, "list"),
    "two axes": ({"values": torch.zeros(1, 2)}, ValueError, r"\(b, n, k\)"),
    "NaN": ({"values": torch.full((2, 2, 1), float("nan"))}, ValueError, r"\[0, 1\]"),
    "estimand": (
        {"values": torch.zeros(1, 2, 1), "estimand": "shap"},
        ValueError,
        "estimand='shap'",
    ),
    "base shape": (
        {"values": torch.zeros(1, 2, 1), "base_values": torch.zeros(2, 1)},
        ValueError,
        "base_values",
    ),
    "std shape": (
        {"values": torch.zeros(1, 2, 1), "std_errors": torch.zeros(1, 2)},
        ValueError,
        "std_errors",
    ),
    "names": ({"values": torch.zeros(1, 2, 1), "players": ["a"]}, ValueError, "players names 1"),
    "outputs": ({"values": torch.zeros(1, 2, 1), "outputs": ["a", "b"]}, ValueError, "outputs"),
}


@pytest.mark.parametrize("case", BAD)
def test_an_inconsistent_explanation_is_refused(case):
    arguments, error, words = BAD[case]
    with pytest.raises(error, match=words):
        Explanation(**arguments)


def test_an_explanation_cannot_be_changed(full):
    with pytest.raises(AttributeError):
        full.exact = True


def test_selected_rows_are_the_rows(full):
    part = full.select([2, 0])
    assert torch.equal(part.values, full.values[[2, 0]])
    assert torch.equal(part.base_values, full.base_values[[2, 0]])
    assert torch.equal(part.diagnostics["certified"], torch.tensor([0, 2]))
    assert torch.equal(full.select(torch.tensor([False, True, False])).values, full.values[1:2])
    assert torch.equal(full.select(slice(1, None)).data, full.data[1:])


def test_to_shap_gives_numpy_of_one_output_by_default(full):
    shap = pytest.importorskip("shap", reason="the extra shap is not installed")
    answer = full.to_shap()
    assert isinstance(answer, shap.Explanation)
    assert isinstance(answer.values, np.ndarray)
    assert np.array_equal(answer.values, full.values[..., 1].numpy())
    assert np.array_equal(answer.base_values, full.base_values[:, 1].numpy())
    assert list(answer.feature_names) == list(full.players)
    assert np.array_equal(full.to_shap("no").values, full.values[..., 0].numpy())
    with pytest.raises(ValueError, match="'maybe'"):
        full.to_shap("maybe")
    assert full.to_shap("all").values.shape == (3, 4, 2)
    three = Explanation(torch.tensor([[[0.1, -2.0, 0.3], [0.2, 1.0, 0.1]]]), outputs=list("abc"))
    assert three.to_shap().output_names == "b"  # of several, the output that moves most


def test_exact_and_loaded_explanations_cannot_be_continued(full):
    exact = exact_shapley(TableGame(torch.randn(1, 4, 1)))
    for e in (exact, full):
        with pytest.raises(ValueError, match="cannot be continued"):
            e.more(100)
