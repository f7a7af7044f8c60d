"""Pictures, end to end: train on patches, explain exactly, check on the pixels alone, a gallery.

python examples/images.py                    # the 8 x 8 digits that scikit-learn carries
python examples/images.py mnist              # or fashion, cifar10, from the data folder
"""

import sys
from pathlib import Path

import numpy as np
import torch

from baselines import PresenceGame, exact_shapley
from bench.cli_images import gallery
from bench.image_suite import recipe_of
from bench.pages import write_page
from bench.problems.images import load_pictures
from harsanyi import HarsanyiConfig, HarsanyiForImageClassification
from harsanyi.image_fitting import ImageSchedule


def main(
    arguments: list[str], folder: Path = Path("out/images"), epochs: int | None = None
) -> float:
    """Run the example.

    Args:
        arguments: Name of a data set, or nothing.
        folder: Where model, explanations and the gallery are written.
        epochs: Passes over the pictures, in place of the recipe's.

    Returns:
        Largest difference between the model's values and enumeration.
    """
    name = arguments[0] if arguments else "digits"
    train, test = load_pictures(name, "train"), load_pictures(name, "test")

    # Players are patches: disjoint squares of pixels, each absent or present as a whole.
    recipe = recipe_of(name, "patches")
    settings = recipe.schedule | ({} if epochs is None else {"epochs": epochs})
    net = HarsanyiForImageClassification(
        HarsanyiConfig.image(size=recipe.size, players="patches", **recipe.options)
    )
    net.fit(*train, schedule=ImageSchedule(**settings), checkpoint_dir=folder / "checkpoints")
    found = net.score(*test)
    print(
        f"accuracy {found['score']:.4f} on {found['rows']:,} pictures, "
        f"{found['masked_score']:.4f} with a random half of the patches absent"
    )

    # One forward pass explains all classes; they are the coordinates of everything else.
    images = test[0][:12]
    e = net.explain(images)
    e.save(folder / "explanations.safetensors")
    best = int((e.values[0].sum(0) + e.base_values[0]).argmax())  # pyright: ignore[reportOptionalSubscript]
    pairs = net.interactions(images[:1], "SII", order=2)
    print(f"first picture: {net.predict(images)[0]}; patches that matter together:")
    for players, value in pairs.top(3, 0, best):
        print("  ", " & ".join(players), f"{value:+.2f}")

    # Anybody can check: paint patches in the baseline's colour, and ask for the class again.
    error = brute_force(net, images[:2])
    print(f"largest difference from enumeration on pixels: {error:.1e}")

    net.save_pretrained(folder / "model")  # and AutoModel.from_pretrained reads it
    made = {"example": "examples/images.py", "data": name}
    sections = gallery(net, e, [f"{name} {i}" for i in range(len(images))], images)
    write_page(folder / "gallery.html", "Pictures, explained", "", sections, made)
    print(f"wrote {folder / 'gallery.html'}")
    return error


def brute_force(net: HarsanyiForImageClassification, images: np.ndarray, most: int = 10) -> float:
    """Largest difference from enumeration over some patches, the others painted over.

    Args:
        net: A trained model.
        images: Some pictures.
        most: Patches that play, drawn at random.
    """
    model = net.net.double()
    x = net.processor(images)["pixel_values"].double()
    n = model.n_players
    free = torch.randperm(n, generator=torch.Generator().manual_seed(0))[:most].sort().values
    playing = torch.zeros(n, dtype=torch.bool).index_fill(0, free, True)

    def painted(rows: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        shown = torch.zeros(len(rows), n, dtype=torch.bool)
        shown[:, free] = present
        return model(model.masked(rows, shown))  # pixels alone: no mask is passed

    truth = exact_shapley(PresenceGame(painted, x, n_players=len(free))).values
    found = model.explain(model.masked(x, playing)).values[:, free]
    net.float()
    return float((found - truth).abs().max())


if __name__ == "__main__":
    main(sys.argv[1:])
