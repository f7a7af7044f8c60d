"""Laws of the pictures: what is drawn is what the explanation says, whatever names it carries."""

import io
import itertools
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from baselines.explanation import Explanation
from baselines.heatmaps import TextHeatMap
from baselines.plots import InteractionPlots, Plots

NASTY = ["<script>alert(1)</script>", "$\\frac{1}{$", "a\nb\x00\u202ec", "x" * 200, ""]


def explained(b=6, n=5, k=2, **fields):
    """Random values that differ by player, output and row."""
    g = torch.Generator().manual_seed(7)
    values = torch.randn(b, n, k, generator=g, dtype=torch.float64)
    return Explanation(
        values,
        base_values=torch.randn(b, k, generator=g, dtype=torch.float64),
        **{"players": [f"f{i}" for i in range(n)], "outputs": list("abcdefgh"[:k]), **fields},
    )


def widths(ax):
    return [bar.get_width() for bar in ax.patches]


def labels(ax):
    return [label.get_text() for label in ax.get_yticklabels()]


def png(ax):
    file = io.BytesIO()
    ax.figure.savefig(file, format="png")
    return file.getvalue()


def ink_at_the_edges(ax):
    """Whether anything is drawn in the outermost pixels, which means it was cut off."""
    from matplotlib.image import imread

    pixels = imread(io.BytesIO(png(ax)))[..., :3]
    edges = [pixels[:2], pixels[-2:], pixels[:, :2], pixels[:, -2:]]
    return any((edge < 0.99).any() for edge in edges)


def test_bars_are_the_largest_values_in_order_and_the_rest_is_summed():
    e = explained(n=9)
    ax = e.plot.bar(1, output="b", max_players=4)
    values = e.values[1, :, 1]
    order = values.abs().argsort(descending=True, stable=True)
    assert labels(ax) == [f"f{i}" for i in order[:4]] + ["5 others"]
    expected = [*values[order[:4]].tolist(), values[order[4:]].sum().item()]
    np.testing.assert_allclose(widths(ax), expected)


def test_one_player_too_many_is_drawn_rather_than_called_other():
    assert "1 others" not in labels(explained(n=5).plot.bar(0, max_players=4))
    assert len(widths(explained(n=5).plot.bar(0, max_players=4))) == 5


def test_ties_keep_the_order_of_the_players():
    e = Explanation(torch.ones(1, 6, 1), players=list("qwerty"))
    assert labels(e.plot.bar(0)) == list("qwerty")


def test_colours_tell_the_sign():
    e = Explanation(torch.tensor([[[2.0], [-1.0]]]))
    raises, lowers = (bar.get_facecolor() for bar in e.plot.bar(0).patches)
    assert raises[0] > raises[2]  # orange
    assert lowers[2] > lowers[0]  # blue


def test_a_waterfall_walks_from_the_base_value_to_the_output():
    e = explained(n=20)
    ax = e.plot.waterfall(2, output=0, max_players=6)
    steps = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in ax.patches]
    assert steps[0][0] == pytest.approx(e.base_values[2, 0].item())
    for (_, end), (start, _) in itertools.pairwise(steps):
        assert end == pytest.approx(start)
    assert steps[-1][1] == pytest.approx((e.base_values[2, 0] + e.values[2, :, 0].sum()).item())
    low, high = ax.get_xlim()
    assert all(low < x < high for step in steps for x in step)


def test_a_waterfall_refuses_values_that_do_not_add_up():
    with pytest.raises(ValueError, match="estimand='gradient'"):
        explained(estimand="gradient").plot.waterfall(0)


def test_without_an_output_the_positive_class_or_the_predicted_one_is_drawn():
    assert "· b" in explained(k=2).plot.bar(0).get_title(loc="left")
    e = explained(k=4)
    for row in range(len(e)):
        best = int((e.base_values[row] + e.values[row].sum(0)).argmax())
        assert e.plot.bar(row).get_title(loc="left").endswith("abcd"[best])


def test_feature_values_stand_beside_the_names():
    data = torch.arange(30, dtype=torch.float64).reshape(6, 5)
    data[1, 2] = torch.nan
    assert set(labels(explained(data=data).plot.bar(1))) == {
        "f0 = 5", "f1 = 6", "f2 = missing", "f3 = 8", "f4 = 9",
    }  # fmt: skip
    words = ["red", "green", "blue", "<b>", "-"]
    assert "f3 = <b>" in labels(explained(data=data).plot.waterfall(1, shown=words))
    with pytest.raises(ValueError, match="shown has 2"):
        explained().plot.bar(0, shown=["a", "b"])


def test_codes_are_shown_as_the_labels_they_stand_for(tmp_path):
    data = torch.tensor([[1.0, 2.5], [torch.nan, 0.0], [7.0, 1.0]])
    e = Explanation(
        torch.tensor([2.0, 1.0]).reshape(1, 2, 1).repeat(3, 1, 1), players=["c", "x"], data=data,
        categories=[["red", "blue"], []],
    )  # fmt: skip
    e.save(tmp_path / "e.safetensors")
    for one in (e, Explanation.load(tmp_path / "e.safetensors")):
        assert labels(one.plot.bar(0)) == ["c = blue", "x = 2.5"]
        assert labels(one.plot.bar(1)) == ["c = missing", "x = 0"]
        assert labels(one.plot.bar(2)) == ["c = unknown", "x = 1"]
        codes, numbers = one.plot.beeswarm().collections[:2]
        assert np.isnan(np.ma.filled(codes.get_array(), np.nan)).all()
        assert not np.isnan(np.ma.filled(numbers.get_array(), np.nan)).any()
    with pytest.raises(ValueError, match="categories names 1"):
        Explanation(torch.ones(1, 2, 1), categories=[[]])


def test_standard_errors_become_intervals_of_95_percent():
    e = explained(std_errors=torch.full((6, 5, 2), 0.5, dtype=torch.float64))
    ax = e.plot.bar(0)
    (interval,) = [c for c in ax.collections if hasattr(c, "get_segments")]
    lengths = [float(segment[1, 0] - segment[0, 0]) for segment in interval.get_segments()]
    np.testing.assert_allclose(lengths, 2 * 1.96 * 0.5)


def test_padding_is_never_drawn():
    mask = torch.ones(6, 5, dtype=torch.bool)
    mask[0, 3:] = False
    e = explained(player_mask=mask)
    assert {name[:2] for name in labels(e.plot.bar(0))} == {"f0", "f1", "f2"}
    assert len(e.plot.text(0).words) == 3
    ragged = explained(b=2, players=[("to", "be"), tuple("abcde")], player_mask=mask[:2])
    assert set(labels(ragged.plot.bar(1))) == set("abcde")


@pytest.mark.parametrize(
    "values", [torch.zeros(3, 4, 1), torch.full((3, 4, 1), 1e300, dtype=torch.float64)]
)
@pytest.mark.parametrize("kind", ["bar", "waterfall"])
def test_zero_and_huge_values_have_finite_axes(values, kind):
    ax = getattr(Explanation(values.double()).plot, kind)(0)
    assert np.isfinite(ax.get_xlim()).all()
    assert ax.get_xlim()[0] < ax.get_xlim()[1]


@pytest.mark.parametrize("kind", ["bar", "waterfall", "beeswarm", "importance"])
def test_hostile_and_long_names_are_drawn_as_they_are_and_not_cut_off(kind):
    e = explained(n=100, players=(NASTY * 20), outputs=["$x_{$ <i>" * 20, "b"])
    plot = getattr(e.plot, kind)
    ax = plot(0, output=0) if kind in ("bar", "waterfall") else plot(output=0)
    assert not ink_at_the_edges(ax)
    assert all("\n" not in name and "\x00" not in name for name in labels(ax))


def test_a_beeswarm_has_a_dot_for_each_row_and_player():
    e = explained(b=40, data=torch.rand(40, 5, dtype=torch.float64))
    ax = e.plot.beeswarm(output="a", max_players=3)
    order = e.values[..., 0].abs().mean(0).argsort(descending=True)
    rest, order = order[3:], order[:3]
    assert labels(ax) == [*(f"f{i}" for i in order), "2 others"]
    *shown, others = ax.collections
    np.testing.assert_allclose(others.get_offsets()[:, 0], e.values[:, rest, 0].sum(1))
    for dots, player in zip(shown, order, strict=True):
        np.testing.assert_allclose(dots.get_offsets()[:, 0], e.values[:, player, 0])
    offsets = np.concatenate([d.get_offsets()[:, 1] for d in ax.collections])
    assert (np.abs(offsets - np.round(offsets)) <= 0.4).all()


def test_importance_is_the_mean_absolute_value_of_each_player():
    e = explained(b=40)
    ax = e.plot.importance(output="a", max_players=3)
    size = e.values[..., 0].abs().mean(0).sort(descending=True).values
    drawn = [bar.get_width() for bar in ax.patches]
    np.testing.assert_allclose(drawn, [*size[:3], size[3:].sum()])
    assert labels(ax)[-1] == "2 others"
    assert ax.get_xlabel().startswith("mean |contribution|")


@pytest.mark.parametrize("kind", ["beeswarm", "importance"])
def test_pictures_of_all_rows_refuse_players_that_differ_by_row_and_no_rows(kind):
    with pytest.raises(ValueError, match="same players"):
        getattr(explained(b=1, players=[tuple("abcde")]).plot, kind)()
    with pytest.raises(ValueError, match="at least one explicand"):
        getattr(explained(b=0).plot, kind)()


def test_the_order_spectrum_is_drawn_in_percent():
    shares = torch.tensor([3.0, 1.0])
    ax = explained(diagnostics={"order_spectrum": shares}).plot.order_spectrum()
    assert [bar.get_height() for bar in ax.patches] == [75.0, 25.0]
    rows = shares.expand(6, 2)
    ax = explained(diagnostics={"order_spectrum": rows}).plot.order_spectrum()
    assert [bar.get_height() for bar in ax.patches] == [75.0, 25.0]
    with pytest.raises(ValueError, match="order_spectrum"):
        explained().plot.order_spectrum()


@pytest.mark.parametrize("wrong", [{"row": 6}, {"row": -7}, {"output": "z"}, {"output": 2}])
def test_a_row_or_output_that_is_not_there_is_named(wrong):
    with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
        explained().plot.bar(**wrong)
    with pytest.raises(ValueError, match="max_players=0"):
        explained().plot.bar(0, max_players=0)


def test_a_text_heat_map_escapes_markup_and_joins_word_pieces():
    heat = TextHeatMap(("<script>", "un", "##do", "[red]x[/red]"), (1.0, -2.0, 0.5, 0.0))
    page = heat.html()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert page.count("<span") == 4
    from rich.console import Console

    console = Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", width=80)
    console.print(heat)
    written = console.file.getvalue()
    assert "[red]x[/red]" in written  # names are words, not rich's markup
    assert heat.__rich__().plain == "<script> undo [red]x[/red]"


def test_the_strongest_word_has_the_strongest_shade():
    heat = explained().plot.text(0, output="a")
    alphas = [float(part.split(")")[0].split(",")[-1]) for part in heat.html().split("rgba(")[1:]]
    np.testing.assert_array_equal(np.argmax(alphas), np.argmax(np.abs(heat.values)))


def test_an_image_puts_each_player_on_its_patch():
    values = torch.arange(6, dtype=torch.float64).reshape(1, 6, 1)
    e = Explanation(values, data=torch.rand(1, 3, 8, 12))
    ax = e.plot.image(0, grid=(2, 3))
    below, heat = ax.images
    assert below.get_array().shape == (8, 12, 3)
    np.testing.assert_allclose(heat.get_array(), np.arange(6.0).reshape(2, 3))
    assert tuple(below.get_extent()) == tuple(heat.get_extent())
    segments = np.array([[0, 5], [5, 1]])
    np.testing.assert_allclose(
        e.plot.image(0, segments=segments).images[-1].get_array(), segments.astype(float)
    )
    with pytest.raises(ValueError, match="no square"):
        e.plot.image(0)
    with pytest.raises(ValueError, match="grid"):
        e.plot.image(0, grid=(2, 2))
    with pytest.raises(ValueError, match="segments"):
        e.plot.image(0, segments=np.array([[6]]))


def interactions():
    subsets = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1]]).bool()
    values = torch.tensor([2.0, -1.0, 0.0, -3.0, 1.0]).reshape(1, 5, 1).repeat(2, 1, 2)
    return SimpleNamespace(
        subsets=subsets, values=values, index="k-SII", order=2,
        players=("$a", "<b>", "c" * 90), outputs=None,
    )  # fmt: skip


def test_a_network_has_an_edge_for_each_pair_that_is_not_zero():
    ax = InteractionPlots(interactions()).network(0)
    key = 2  # strokes of the legend
    assert len(ax.lines) == 2 + key
    strengths = sorted(line.get_linewidth() for line in ax.lines[:2])
    assert strengths[0] < strengths[1]
    assert len(ax.collections[0].get_offsets()) == 3
    assert not ink_at_the_edges(ax)
    with pytest.raises(ValueError, match="row=2"):
        InteractionPlots(interactions()).network(2)


def test_pictures_show_themselves_in_a_notebook():
    assert explained().plot.bar(0)._repr_png_().startswith(b"\x89PNG")
    assert explained().plot.text(0)._repr_html_().startswith("<p")


def test_a_picture_goes_onto_axes_of_ones_own():
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    assert Plots(explained()).bar(0, ax=ax) is ax


def test_drawing_leaves_pyplot_alone():
    program = (
        "import sys, torch; from baselines.explanation import Explanation as E\n"
        "E(torch.ones(2, 3, 1)).plot.beeswarm().figure.savefig('/dev/null', format='png')\n"
        "assert 'matplotlib' in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
