"""Classifiers of images that explain themselves: patches or cells are the players.

net = HarsanyiForImageClassification(HarsanyiConfig.image(size=32, players="patches"))
net.fit(images, labels).explain(image).plot.image()
"""

from collections.abc import Callable, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageClassification

from baselines.randomness import seed_of
from baselines.saved_models import register
from baselines.torch_calls import from_array
from baselines.training import History
from harsanyi.image_config import image_settings
from harsanyi.image_fitting import ImageLoss, ImageSchedule, fit_images, outputs_of
from harsanyi.image_net import HarsanyiImageNet
from harsanyi.image_processing import HarsanyiImageProcessor
from harsanyi.outputs import (
    HarsanyiOutput,
    explained,
    given,
    label_loss,
    problem_of,
    targets_of,
)
from harsanyi.patches import FeatureEncoder, feature_map
from harsanyi.pixels import as_images, channels_of
from harsanyi.pretrained import HarsanyiConfig, HarsanyiPreTrainedModel

if TYPE_CHECKING:
    from baselines.explanation import Explanation
    from baselines.interactions import Interactions
    from harsanyi.dividends import Dividends


class HarsanyiImageConfig(HarsanyiConfig):
    """A HarsanyiConfig whose rows are images; `HarsanyiConfig.image(...)` makes one.

    Args:
        size: Rows and columns of an image.
        channels: Channels of an image.
        recipe: Keyword arguments of `image_settings`, from which parts are built anew when
            training finds other channels or classes.
        classes: Labels as they were given in training, in the order of the outputs.
    """

    model_type = "harsanyi-image"

    size: list[int] | None = None
    channels: int = 3
    recipe: dict[str, Any] | None = None
    classes: list[Any] | None = None


def image_config(
    size: int | Sequence[int] = 32,
    players: str = "patches",
    **options: Any,  # noqa: ANN401 - of `image_settings`
) -> HarsanyiImageConfig:
    """The configuration of a model of images; see `harsanyi.image_config.image_settings`."""
    return HarsanyiImageConfig(**image_settings(size, players, **options))


class HarsanyiForImageClassification(HarsanyiPreTrainedModel):
    """A HarsanyiNet over images; `problem_type="regression"` serves regression.

    Args:
        config: From `HarsanyiConfig.image(...)`.
        backbone: For players that are features: any module that maps images to `(b, c, h, w)`. It
            is frozen, and its weights are saved with the model's.

    Example:
        >>> import numpy as np
        >>> from harsanyi import HarsanyiConfig, HarsanyiForImageClassification
        >>> from harsanyi.image_fitting import ImageSchedule
        >>> images = np.random.default_rng(0).random((24, 8, 8), dtype=np.float32)
        >>> labels = images[:, :4].mean((1, 2)) > images[:, 4:].mean((1, 2))
        >>> config = HarsanyiConfig.image(size=8, patch=4, width=8, blocks=2)
        >>> net = HarsanyiForImageClassification(config)
        >>> net = net.fit(images, labels, schedule=ImageSchedule(epochs=2), progress=False)
        >>> net.explain(images[:3])
        Explanation(shapley, exact, b=3, n=4, k=2, method='harsanyi', n_evals=2, game='harsanyi net, absence=baseline, logit, players=2 x 2 patches of 4 x 4 pixels')
    """

    config_class = HarsanyiImageConfig
    main_input_name = "pixel_values"
    net: HarsanyiImageNet  # pyright: ignore[reportIncompatibleVariableOverride] - a kind of it
    history: History | None = None

    def __init__(self, config: HarsanyiImageConfig, backbone: nn.Module | None = None) -> None:
        super().__init__(config)
        self.net = _built(config, backbone)
        self.post_init()

    @classmethod
    def from_backbone(
        cls,
        backbone: nn.Module,
        size: int | Sequence[int],
        **options: Any,  # noqa: ANN401 - of `image_config`
    ) -> "HarsanyiForImageClassification":
        """A model whose players are the cells of a network's feature map.

        Args:
            backbone: Any module that maps images to `(b, c, h, w)`; it is frozen.
            size: Side of an image, or rows and columns.
            options: Of `HarsanyiConfig.image`.

        Raises:
            ValueError: If the network makes no feature map of such images.
        """
        rows, columns = (size, size) if isinstance(size, int) else tuple(size)
        weight = next(backbone.parameters(), torch.zeros(()))
        blank = weight.new_zeros(1, options.get("channels", 3), rows, columns)
        with torch.no_grad():
            _, features, *grid = feature_map(backbone.eval(), blank).shape
        config = image_config(size, "features", grid=grid, features=features, **options)
        return cls(config, backbone)

    def resized(self, size: int | Sequence[int]) -> "HarsanyiForImageClassification":
        """The same weights on pictures of another size: more players of the same kind.

        Args:
            size: Side of an image, or rows and columns.

        Returns:
            A new model; this one stays as it is.

        Raises:
            ValueError: If the read-out has weights of its own for every place.
        """
        recipe: dict[str, Any] = self.config.recipe or {}
        kind = recipe.get("players")
        if recipe.get("readout") != "shared" or recipe.get("preset") or kind == "features":
            raise ValueError(
                "this model knows every place of its grid apart; make it with "
                "HarsanyiConfig.image(..., readout='shared') to use it on other sizes."
            )
        settings: dict[str, Any] = {**recipe, "size": size}
        config = image_config(
            **settings,
            channels=self.config.channels,
            n_outputs=self.config.n_outputs,
        )
        for name in ("classes", "outputs", "id2label", "label2id", "measures"):
            setattr(config, name, getattr(self.config, name))
        model: Any = type(self)(config)
        model.to(self.net.bias.device, self.net.bias.dtype)
        grown = {"net.parts.0.stencil", "net.signature"}
        state = {name: value for name, value in self.state_dict().items() if name not in grown}
        fresh = {name: value for name, value in model.state_dict().items() if name in grown}
        model.load_state_dict(state | fresh)
        return model.train(self.training)

    @property
    def processor(self) -> HarsanyiImageProcessor:
        """What turns pictures into the pixels that the model reads."""
        return HarsanyiImageProcessor(self.config.size, self.config.channels)

    def forward(
        self,
        pixel_values: Tensor,
        present: Tensor | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
    ) -> HarsanyiOutput | tuple[Tensor, ...]:
        """Logits with their exact Shapley values.

        Args:
            pixel_values: Images `(b, c, h, w)` in [0, 1].
            present: Players present, bool `(b, n)` or `(n,)`; None means everybody.
            labels: Classes `(b,)` or targets `(b, k)`. In training the loss includes random
                coalitions.
            return_dict: False for a tuple.

        Returns:
            Loss, logits, Shapley values, base values and additivity gap.
        """
        logits, shapley, base = self.net.attribute(pixel_values, present)
        loss = None if labels is None else self._loss(pixel_values, logits, labels)
        return given(explained(logits, shapley, base, loss), return_dict)

    def _loss(self, x: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        problem = problem_of(self.config)
        if not self.training:
            return label_loss(logits, labels, problem)
        schedule = ImageSchedule(coalition_weight=self.config.coalition_weight)
        # torch's own stream, which Trainer seeds and restores, numbers the coalitions
        seed = int(torch.randint(2**62, ()))
        generator = torch.Generator().manual_seed(seed)
        targets = targets_of(labels, problem)
        return ImageLoss(schedule, problem)(self.net, (x, targets), generator)

    def fit(
        self,
        images: Any,  # noqa: ANN401 - as `as_images` takes them
        labels: Any,  # noqa: ANN401 - a sequence
        *,
        schedule: ImageSchedule | None = None,
        validation: tuple[Any, Any] | None = None,
        random_state: int = 0,
        checkpoint_dir: str | PathLike[str] | None = None,
        on_epoch: Callable[[History], None] | None = None,
        progress: bool = True,
    ) -> "HarsanyiForImageClassification":
        """Train on pictures and labels; channels and classes are taken from them.

        Args:
            images: Files, PIL images, arrays or tensors; resized to the configured size.
            labels: One per picture: any class labels, or numbers for regression.
            schedule: How long and how hard; `ImageSchedule()` when None, on whole pictures alone
                for the published preset.
            validation: Pictures and labels whose scores, whole and with half of the players
                absent, go into `config.measures`; nothing is chosen by them.
            random_state: Key of every random choice.
            checkpoint_dir: Folder that a killed run continues from.
            on_epoch: Called with the history after each epoch.
            progress: Show a bar.

        Returns:
            self, in eval mode; `history` says what happened.

        Raises:
            TypeError: If images or labels are no such sequence, or `random_state` is no integer.
            ValueError: If there are no pictures, other counts of labels, or a single class.
        """
        seed = seed_of(random_state)
        features = any(isinstance(e, FeatureEncoder) for e in self.net.encoders)
        channels = self.config.channels if features else channels_of(images)
        x = as_images(images, self.config.size, channels)
        targets, classes = self._targets(labels, len(x))
        self._rebuild(channels, classes, targets)
        device, dtype = self.net.bias.device, self.net.bias.dtype
        if features:
            x = self._features(x)
        for encoder in self.net.encoders:
            encoder.fit(x.to(device))
        if not features:
            self.net.set_baseline(x.double().mean((0, 2, 3)))
        if targets.is_floating_point():
            targets = targets.to(dtype)
        schedule = schedule or self.default_schedule
        self.history = fit_images(
            self.net,
            x,
            targets,
            schedule,
            key=seed,
            checkpoint_dir=checkpoint_dir,
            on_epoch=on_epoch,
            progress=progress,
            description=f"images, {self.config.n_players} players",
        )
        self.eval()
        if validation is not None:
            self.config.measures = self.score(*validation, random_state=seed)
        return self

    @property
    def default_schedule(self) -> ImageSchedule:
        """The schedule of `fit` when none is given; `published=True` trains as the paper does."""
        return ImageSchedule(coalition_weight=self.config.coalition_weight)

    def score(
        self,
        images: Any,  # noqa: ANN401 - as `as_images` takes them
        labels: Any,  # noqa: ANN401 - a sequence
        *,
        random_state: int = 0,
    ) -> dict[str, float]:
        """Accuracy, or R2, on whole pictures and with a random half of the players absent.

        Args:
            images: Pictures.
            labels: One per picture.
            random_state: Key of the coalitions.

        Returns:
            `score`, `masked_score` and `rows`.
        """
        x = as_images(images, self.config.size, self.config.channels)
        truth = np.asarray(labels)
        key = torch.Generator().manual_seed(seed_of(random_state))
        n = self.config.n_players
        half = torch.rand(len(x), n, generator=key).argsort(-1) < (n + 1) // 2
        found = {}
        for name, present in (("score", None), ("masked_score", half)):
            outputs = outputs_of(self.net, x, present).float().cpu().numpy()
            if self.config.classes is None:
                error = ((outputs - truth.reshape(len(x), -1)) ** 2).sum()
                spread = ((truth - truth.mean(0)) ** 2).sum()
                # of numbers that do not vary, R2 is 1 when met and 0 when not, as scikit-learn has it
                found[name] = float(1 - error / spread if spread > 0 else error == 0)
            else:
                found[name] = float((self._named(outputs) == truth).mean())
        return {**found, "rows": len(x)}

    def predict(self, images: Any) -> np.ndarray:  # noqa: ANN401 - as `as_images` takes them
        """Labels of pictures, as they were given in training; numbers `(b, k)` in regression."""
        outputs = outputs_of(self.net, self._pixels(images)).float().cpu().numpy()
        return outputs if self.config.classes is None else self._named(outputs)

    def explain(
        self,
        images: Any,  # noqa: ANN401 - as `as_images` takes them
        present: Any = None,  # noqa: ANN401 - a tensor or array
        *,
        free: Any = None,  # noqa: ANN401 - a tensor or array
    ) -> "Explanation":
        """Exact Shapley values of pictures, all classes at once.

        Args:
            images: Files, PIL images, arrays or tensors.
            present: Players of the game, bool `(b, n)` or `(n,)`; the others stay absent.
            free: Players who may leave, bool `(b, n)` or `(n,)`; the others stay present.

        Returns:
            Values `(b, n, k)`, players by rows of the grid; `.plot.image()` draws them.
        """
        x = self._pixels(images)
        masks = [
            None if m is None else torch.as_tensor(m, device=x.device) for m in (present, free)
        ]
        return self.net.explain(x, masks[0], free=masks[1])

    def dividends(self, images: Any) -> "Dividends":  # noqa: ANN401 - as `as_images` takes them
        """Dividends of the game of pictures."""
        return self.net.dividends(self._pixels(images))

    def interactions(
        self,
        images: Any,  # noqa: ANN401 - as `as_images` takes them
        index: str = "k-SII",
        order: int = 2,
    ) -> "Interactions":
        """Exact interactions of pictures under an index, up to an order."""
        return self.net.dividends(self._pixels(images)).interactions(index, order)

    def save_pretrained(
        self,
        save_directory: str | PathLike[str],
        *args: Any,  # noqa: ANN401
        **kwargs: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Write config and weights, and the image processor beside them."""
        found = super().save_pretrained(save_directory, *args, **kwargs)
        processor: Any = self.processor
        processor.save_pretrained(save_directory)
        return found

    def _pixels(self, images: Any) -> Tensor:  # noqa: ANN401
        return as_images(images, self.config.size, self.config.channels).to(self.net.bias.device)

    def _named(self, outputs: np.ndarray) -> np.ndarray:
        classes = np.asarray(self.config.classes or list(range(outputs.shape[1])))
        return classes[outputs.argmax(-1)]

    def _targets(self, labels: Any, rows: int) -> tuple[Tensor, list[Any] | None]:  # noqa: ANN401
        """Targets as the loss takes them, and the classes in order."""
        given = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
        if given.ndim == 0:
            raise TypeError(f"labels is a {type(labels).__name__}; pass one label per picture.")
        if len(given) != rows:
            raise ValueError(f"labels has {len(given)} entries for {rows} images.")
        if self.config.problem_type == "regression":
            numbers = given.astype(np.float64).reshape(rows, -1)
            if not np.isfinite(numbers).all():
                raise ValueError("labels hold NaN or inf; targets must be finite numbers.")
            return from_array(numbers), None
        if given.ndim > 1 and given.size != rows:
            raise ValueError(f"labels have shape {given.shape}; one class per picture is needed.")
        if given.dtype.kind == "f" and not np.isfinite(given).all():
            raise ValueError("labels hold NaN or inf; every picture needs a class.")
        if given.dtype.kind == "O":
            kinds = sorted({type(label).__name__ for label in given.reshape(-1)})
            if len(kinds) > 1 or kinds == ["NoneType"]:
                raise ValueError(f"labels mix {kinds}; give every picture a class of one kind.")
        classes, codes = np.unique(given, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"labels have one class ({classes.tolist()}); two are needed.")
        return from_array(codes.reshape(-1).astype(np.int64)), classes.tolist()

    def _rebuild(self, channels: int, classes: list[Any] | None, targets: Tensor) -> None:
        """Parts anew where pictures have other channels, or labels other classes."""
        config = cast("HarsanyiImageConfig", self.config)
        outputs = targets.shape[1] if classes is None else len(classes)
        if (channels, outputs) != (config.channels, config.n_outputs):
            if config.recipe is None:
                raise ValueError(
                    f"config has {config.channels} channels and {config.n_outputs} outputs; the "
                    f"data have {channels} and {outputs}. Make it with HarsanyiConfig.image."
                )
            fresh = image_config(**config.recipe, channels=channels, n_outputs=outputs)
            config.parts, config.channels, config.n_outputs = fresh.parts, channels, outputs
            backbone = next((getattr(e, "backbone", None) for e in self.net.encoders), None)
            before = self.net.bias
            fresh_net: Any = _built(config, backbone)
            fresh_net.to(before.device, before.dtype)
            self.net = fresh_net  # pyright: ignore[reportIncompatibleVariableOverride]
        names = [str(i) for i in range(outputs)] if classes is None else list(map(str, classes))
        config.classes, config.outputs = classes, names
        config.id2label = dict(enumerate(names))
        config.label2id = {name: i for i, name in enumerate(names)}
        self.net.sign()

    @torch.no_grad()
    def _features(self, x: Tensor, step: int = 256) -> Tensor:
        """Feature maps of all images, made once, since the network is frozen."""
        encoder, device = self.net.encoders[0], self.net.bias.device
        return torch.cat([encoder.map(piece.to(device)).cpu() for piece in torch.split(x, step)])


def _built(config: HarsanyiImageConfig, backbone: nn.Module | None) -> HarsanyiImageNet:
    """A net with real numbers even while transformers builds on the meta device."""
    if torch.get_default_device().type != "meta":
        return HarsanyiImageNet(config, backbone=backbone)
    with torch.device("cpu"):
        return HarsanyiImageNet(config, backbone=backbone)


register(AutoConfig, HarsanyiImageConfig.model_type, HarsanyiImageConfig)
register(
    AutoImageProcessor,
    HarsanyiImageConfig,
    image_processor_classes={"pil": HarsanyiImageProcessor, "torchvision": HarsanyiImageProcessor},
)
register(AutoModel, HarsanyiImageConfig, HarsanyiForImageClassification)
register(AutoModelForImageClassification, HarsanyiImageConfig, HarsanyiForImageClassification)
