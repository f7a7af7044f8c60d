"""Laws of the page: self-contained, escaped, readable by people, browsers and programs."""

import base64
import dataclasses
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import torch

from baselines import TableGame, exact_shapley
from baselines.canvas import PAPER
from baselines.explanation import Explanation
from bench import evaluate, leaderboard, sampled
from bench.pages import Cell, Section, Table, write_page
from bench.pictures import DARK, family_of, in_words, pareto, picture
from bench.problems.problem import Problem
from bench.report import read_parquet, write_parquet, write_report
from bench.report_tables import accuracy_table, leaderboard_table

EVIL = '<script>document.title="owned"</script>'


def board():
    """A real leaderboard: exact, and two noisy contenders of known noise."""
    g = torch.Generator().manual_seed(3)
    values = torch.randn(6, 2**5, 1, generator=g, dtype=torch.float64)
    problem = Problem(
        name=f"toy {EVIL}", x=torch.arange(6), y=None, task="game", scale="value",
        game_factory=lambda x: TableGame(values[x]),
    )  # fmt: skip
    truth = exact_shapley(problem.game())

    def noisy(game, budget, generator):
        exact = exact_shapley(game)
        noise = torch.randn(exact.values.shape, generator=generator, dtype=torch.float64)
        game(torch.ones(1, budget, 5, dtype=torch.bool))
        return dataclasses.replace(
            exact, exact=False, values=exact.values + noise / budget**0.5, method="noisy"
        )

    contenders = {f"noisy @ {budget}": sampled(noisy, budget) for budget in (50, 800)}
    evaluations = [
        evaluate(contender, problem, truth, name=name) for name, contender in contenders.items()
    ]
    return leaderboard([*evaluations, evaluate(sampled("exact_shapley"), problem, truth)])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run with everything in it, hostile names included."""
    folder = tmp_path_factory.mktemp("run")
    write_parquet(folder / "leaderboard.parquet", board())
    g = torch.Generator().manual_seed(0)
    players = [EVIL, "a & b", '"quoted" \u202e\u200b', "$x^2$"]
    explanation = Explanation(
        torch.randn(9, 4, 2, generator=g, dtype=torch.float64),
        base_values=torch.zeros(9, 2),
        players=players,
        outputs=["no", EVIL],
        exact=True,
        data=torch.randn(9, 4, generator=g),
        diagnostics={"order_spectrum": torch.tensor([[0.5, 0.3, 0.2, 0.0]])},
    )
    explanation.save(folder / "explanations.safetensors")
    rows = pd.DataFrame(np.full((9, 4), "<b>cell</b>"), columns=players)
    write_parquet(folder / "rows.parquet", rows)
    scores = {"score": 0.9, "score_lo": 0.8, "score_hi": 0.95, "masked_score": 0.7}
    accuracy = pd.DataFrame([{"model": EVIL, "metric": "accuracy", **scores, "fit_seconds": 1.0}])
    write_parquet(folder / "accuracy.parquet", accuracy)
    note = {
        "title": f"Run {EVIL}", "lead": EVIL, "examples": [[4, "the surest"]],
        "made": {"command": f"harsanyi bench {EVIL}", "commit": "abc"},
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(note))
    return folder


@pytest.fixture(scope="module")
def page(run):
    return write_report(run).read_text(encoding="utf-8")


class Outline(HTMLParser):
    """Tags in order, with their attributes, and whether each closes."""

    VOID = ("meta", "link", "img", "br")

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags, self.open, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def outline(page):
    parser = Outline()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser


def test_the_page_parses_and_every_tag_closes(page):
    tags = [tag for tag, _ in outline(page).tags]
    assert tags.count("h1") == 1
    assert tags.count("table") == 5  # advice, accuracy, leaderboard, measures, provenance
    assert tags.count("details") == tags.count("summary") == 2
    assert tags.count("script") == 1  # ours; a hostile name adds none


def test_names_are_words_and_never_markup(page):
    parser = outline(page)
    assert EVIL not in page
    assert EVIL in parser.text  # as a reader sees it
    assert "<b>cell" not in page


def test_the_page_holds_no_address(page):
    assert not re.search(r"https?:|//[a-z]|@import|url\(", page.split("<script>")[0])
    for _, attributes in outline(page).tags:
        for name in ("src", "href"):
            assert attributes.get(name, "data:,").startswith("data:")
    policy = next(a for t, a in outline(page).tags if a.get("http-equiv"))
    assert policy["content"].startswith("default-src 'none'")


def test_every_picture_is_a_whole_svg_with_words_beside_it(page):
    images = [attributes for tag, attributes in outline(page).tags if tag == "img"]
    assert len(images) == 4  # pareto, one example, swarm, order spectrum
    for image in images:
        assert image["alt"]
        svg = base64.b64decode(image["src"].split(",")[1]).decode()
        assert ElementTree.fromstring(svg).tag.endswith("svg")
        assert "prefers-color-scheme:dark" in svg
        assert not [colour for colour in DARK if colour in svg.split("</style>")[1]]
        for address in re.findall(r'href="([^"]*)"', svg):
            assert address.startswith(("#", "data:"))


def test_sort_keys_are_what_the_cells_say(page):
    parser = outline(page)
    keys = [a["data-sort"] for t, a in parser.tags if t == "td" and a.get("class") == "number"]
    assert keys
    for key in keys:
        float(key)


def test_the_leaderboard_shows_error_interval_and_cost():
    table = board()
    shown = leaderboard_table(table)
    errors = [row[2].sort for row in shown.rows]
    assert errors == table["nrmse"].tolist()
    for row, record in zip(shown.rows, table.to_dict("records"), strict=True):
        assert row[0].text == record["method"]
        assert row[5].sort == record["evals"]
    noisy = next(row for row in shown.rows if row[0].text == "noisy @ 50")
    low, high = (float(end) for end in noisy[3].text.split("…"))
    assert low <= noisy[2].sort <= high


def test_terminal_tables_write_markup_as_it_is():
    import io

    from rich.console import Console

    table = Table("[bold]t[/]", [("a", "a", "")], [[Cell("[red]x[/red]", "x")]], "[i]note[/i]")
    console = Console(file=io.StringIO(), width=60)
    console.print(table.rich())
    written = console.file.getvalue()
    for words in ("[bold]t[/]", "[red]x[/red]", "[i]note[/i]"):
        assert words in written


def test_regression_scores_are_not_shown_as_percent():
    scores = {"score": 0.5, "score_lo": 0.4, "score_hi": 0.6, "masked_score": float("nan")}
    table = accuracy_table(
        pd.DataFrame([{"model": "m", "metric": "R2", **scores, "fit_seconds": 2.0}])
    )
    assert [cell.text for cell in table.rows[0]] == ["m", "0.500", "0.400…0.600", "–", "2.0"]  # noqa: RUF001


def test_the_pareto_plot_has_a_point_for_each_contender():
    table = board()
    ax = pareto(table)
    points = np.concatenate([line.get_xydata() for line in ax.lines if line.get_marker() in "ov"])
    at_cost = dict(points.round(9).tolist())
    for record in table.to_dict("records"):
        if record["nrmse"] > 1e-5:
            assert at_cost[record["evals"]] == pytest.approx(record["nrmse"])
    assert len(points) == len(table)
    hollow = pareto(table.assign(at_floor=table["nrmse"] > 1e-5))
    faces = {line.get_markerfacecolor() for line in hollow.lines if len(line.get_xdata())}
    assert PAPER in faces
    assert PAPER not in {line.get_markerfacecolor() for line in ax.lines if len(line.get_xdata())}
    with pytest.raises(ValueError, match="no contender"):
        pareto(table.assign(nrmse=np.nan))


def test_families_group_budgets_and_alternatives_name_the_largest():
    assert family_of("permutation @ 200") == family_of("permutation@5n") == "permutation"
    assert in_words(["a", "b", "c"], [0.1, -3.0, 2.0], most=2) == "b -3, c +2"


def test_reports_of_nothing_and_of_broken_files_say_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="neither leaderboard"):
        write_report(tmp_path)
    (tmp_path / "leaderboard.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(ValueError, match="parquet"):
        write_report(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(ValueError, match="JSON"):
        write_report(tmp_path)


def test_tables_survive_the_disk(tmp_path):
    table = board()
    write_parquet(tmp_path / "t.parquet", table)
    pd.testing.assert_frame_equal(read_parquet(tmp_path / "t.parquet"), table)


@pytest.fixture(scope="module")
def chromium():
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("needs a browser: apt-get install chromium")
    return found


def browse(chromium, path, folder, *flags):
    """What a headless browser says and shows of a page."""
    return subprocess.run(
        [
            chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", f"--user-data-dir={folder / 'profile'}",
            "--enable-logging=stderr", "--virtual-time-budget=5000", *flags, path.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


PROBE = """<script>
window.addEventListener("load", () => {
  const images = [...document.images].map((i) => i.complete && i.naturalWidth);
  const named = (t) => t.caption.textContent === "Leaderboard";
  const table = [...document.querySelectorAll("table")].find(named), head = table.tHead.rows[0].cells;
  const column = [...head].findIndex((th) => th.textContent.startsWith("error"));
  const keys = () => [...table.tBodies[0].rows].map((r) => Number(r.cells[column].dataset.sort));
  const button = head[column].querySelector("button");
  button.focus(); const focused = document.activeElement === button;
  button.click(); const up = keys(), said = head[column].getAttribute("aria-sort");
  button.click(); const down = keys();
  const wide = document.documentElement.scrollWidth > window.innerWidth;
  const found = {images, up, down, said, focused, wide, title: document.title};
  document.body.dataset.found = JSON.stringify(found);
});
</script>"""


def test_a_browser_shows_the_pictures_sorts_by_keyboard_and_logs_no_error(
    chromium, run, page, tmp_path
):
    probed = tmp_path / "probed.html"
    probed.write_text(page.replace("</body>", PROBE + "</body>"), encoding="utf-8")
    seen = browse(chromium, probed, tmp_path, "--window-size=390,900", "--dump-dom")
    assert "CONSOLE" not in seen.stderr
    found = json.loads(dict(outline(seen.stdout).tags)["body"]["data-found"])
    assert len(found["images"]) == 4
    assert all(width > 0 for width in found["images"])
    assert found["up"] == sorted(found["up"])
    assert found["down"] == found["up"][::-1]
    assert found["said"] == "ascending"
    assert found["focused"]
    assert not found["wide"]  # on a phone the page itself never scrolls sideways
    assert found["title"] == f"Run {EVIL}"


def test_dark_mode_darkens_page_and_pictures(chromium, run, page, tmp_path):
    from matplotlib.image import imread

    path = tmp_path / "page.html"
    path.write_text(page, encoding="utf-8")
    shades = []
    for mode in ("0", "1"):  # 0 is dark in Chromium's settings
        shot = tmp_path / f"{mode}.png"
        flags = (f"--blink-settings=preferredColorScheme={mode}", "--window-size=900,2600")
        browse(chromium, path, tmp_path, *flags, f"--screenshot={shot}")
        pixels = imread(shot)[..., :3].mean(-1)
        shades.append((np.median(pixels), (pixels > 0.99).mean()))
    dark, light = shades
    assert dark[0] < 0.2
    assert light[0] > 0.9
    assert dark[1] < 0.02  # no white card is left around a picture


def test_texts_are_shaded_in_the_page_and_stay_words(tmp_path):
    from bench.report import explanation_sections

    words = (("fine", EVIL, "film"), ("dull", "x"))
    mask = torch.tensor([[True] * 3, [True, True, False]])
    e = Explanation(torch.randn(2, 3, 1), players=words, player_mask=mask)
    page = write_page(tmp_path / "t.html", "t", "", explanation_sections(e), {}).read_text()
    assert EVIL not in page
    assert "&lt;script&gt;" in page
    outline(page)
    assert page.count('class="heatmap"') == 2
    assert page.count("rgba(") == 5


def test_a_page_needs_no_tables_or_pictures(tmp_path):
    path = write_page(tmp_path / "p.html", "t", "", [Section("h", "w")], {})
    assert "<h2" in path.read_text()


def test_a_picture_of_a_script_the_font_lacks_is_still_a_picture():
    e = Explanation(torch.ones(1, 2, 1), players=["特徴", "b"])
    assert picture(e.plot.bar(0), "two players").width > 0
