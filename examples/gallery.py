"""A page to look at: digits under their overlays, reviews shaded word by word, pairs that matter.

python examples/gallery.py               # the 8 x 8 digits and short made-up reviews
python examples/gallery.py mnist sst2    # or fashion, cifar10; agnews: from the data folder
"""

import sys
from pathlib import Path

from bench.cli_images import gallery
from bench.cli_text import heat_maps
from bench.image_suite import recipe_of
from bench.pages import write_page
from bench.problems.images import load_pictures
from bench.problems.text_data import load_texts
from harsanyi import (
    HarsanyiConfig,
    HarsanyiForImageClassification,
    HarsanyiForTextClassification,
)
from harsanyi.image_fitting import ImageSchedule

OWN = ("not a good film", "a good film, never dull")
"""Reviews to explain beside those of the test part."""


def main(
    arguments: list[str],
    folder: Path = Path("out/gallery"),
    epochs: int | None = None,
    **settings: object,
) -> Path:
    """Run the example.

    Args:
        arguments: Names of a data set of pictures and of one of texts, or nothing.
        folder: Where the page is written.
        epochs: Passes over the pictures and over the texts, in place of the defaults.
        settings: More keyword arguments for the model of texts.

    Returns:
        The page.
    """
    name = arguments[0] if arguments else "digits"
    about = arguments[1] if len(arguments) > 1 else "templates"
    recipe = recipe_of(name, "patches")
    schedule = recipe.schedule | ({} if epochs is None else {"epochs": epochs})
    pictures = HarsanyiForImageClassification(
        HarsanyiConfig.image(size=recipe.size, players="patches", **recipe.options)
    )
    pictures.fit(*load_pictures(name, "train"), schedule=ImageSchedule(**schedule))
    images = load_pictures(name, "test")[0][:6]
    explained = pictures.explain(images)
    sections = gallery(pictures, explained, [f"{name} {i}" for i in range(6)], images)

    data = load_texts(about)
    labels = [data.classes[y] for y in data.labels or ()]
    words = HarsanyiForTextClassification.from_texts(data.texts, labels, epochs=epochs, **settings)
    reviews = [*OWN, *map(str, load_texts(about, "test").texts[:4])]
    sections.append(heat_maps(words, words.explain(reviews), reviews))

    made = {"example": "examples/gallery.py", "pictures": name, "texts": about}
    lead = (
        "Exact Shapley values of the models that made the predictions, all from one forward pass."
    )
    page = write_page(folder / "gallery.html", "Pictures and texts", lead, sections, made)
    print(f"wrote {page}")
    return page


if __name__ == "__main__":
    main(sys.argv[1:])
