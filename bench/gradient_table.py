"""Bias, variance and cost of the gradients through z, measured against enumeration.

python -m bench.gradient_table docs/results/gradients.md
"""

import dataclasses
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from amortized.lex.gradients import (
    Enumeration,
    Gradient,
    Imle,
    LogLikelihood,
    Objective,
    Pathwise,
    Rebar,
    Reinforce,
    Vimco,
)
from amortized.lex.masks import Bernoulli, ConcreteTopK, MaskLaw, TopK

N_PLAYERS = 6
N_ROWS = 5
CONTROL = -0.4
"""What stands for a full-input network's log-likelihood: any constant leaves the mean alone."""


@dataclasses.dataclass(frozen=True, eq=False)
class Toy:
    """Five explicands of six players, a frozen predictor, and a selector's logits.

    Args:
        net: From masked rows to logits of three classes.
        x: `(5, 6)`.
        y: `(5,)`.
        logits: `(5, 6)`.
    """

    net: nn.Module
    x: Tensor
    y: Tensor
    logits: Tensor

    def value(self, z: Tensor, relaxed: Tensor | None = None) -> Tensor:
        """log p(y | z x) of masks `(m, l, b, 6)` whose rows go round the explicands in turn."""
        mask = z.double() if relaxed is None else relaxed
        turns = mask.shape[-2] // N_ROWS
        log_p = torch.log_softmax(self.net(mask * self.x.repeat(turns, 1)), -1)
        return log_p.gather(-1, self.y.repeat(turns).expand(mask.shape[:-1])[..., None])[..., 0]

    def exact(self, law: MaskLaw, l: int = 1) -> Tensor:
        """Enumerated gradient `(5, 6)` of minus the bound of `l` draws."""
        logits = self.logits.clone().requires_grad_()
        Enumeration()(Objective(law, logits, self.value, 1, l)).loss.sum().backward()
        return _grad(logits)

    def estimates(
        self,
        gradient: Gradient,
        law: MaskLaw,
        m: int,
        l: int,
        count: int,
        *,
        value: LogLikelihood | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Independent estimates, as rows: one backward pass gives thousands of them.

        Args:
            gradient: The estimator.
            law: Law of the masks.
            m: Outer draws of an estimate.
            l: Inner draws of an estimate.
            count: Estimates for each explicand.
            value: Another reward in place of the predictor's log-likelihood.

        Returns:
            Gradients `(count, 5, 6)` and bounds `(count, 5)`.
        """
        generator = torch.Generator().manual_seed(11)
        control = torch.tensor(CONTROL, dtype=torch.float64)
        grads, bounds = [], []
        for turns in torch.empty(count).split(max(1, 16_000 // (m * l))):  # a bounded memory
            logits = self.logits.repeat(len(turns), 1).requires_grad_()
            at = Objective(law, logits, value or self.value, m, l, generator, control)
            drawn = gradient(at)
            drawn.loss.sum().backward()
            grads.append(_grad(logits).reshape(-1, N_ROWS, N_PLAYERS))
            bounds.append(drawn.bound.reshape(-1, N_ROWS))
        return torch.cat(grads), torch.cat(bounds)


def fitted_toy(seed: int = 3, *, noise: float = 1.0, steps: int = 300) -> Toy:
    """A predictor fitted to three noisy bands of x0 x1 + x2, masked by zeros.

    Args:
        seed: Of data, weights and logits.
        noise: Standard deviation added to x0 x1 + x2; the less, the sharper the predictor.
        steps: Of training; 0 leaves the network as it was drawn.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    x = draw(2000, N_PLAYERS)
    score = x[:, 0] * x[:, 1] + x[:, 2] + noise * draw(2000)
    y = (score > -0.5).long() + (score > 0.5).long()
    net = nn.Sequential(nn.Linear(N_PLAYERS, 16), nn.Tanh(), nn.Linear(16, 3)).double()
    for parameter in net.parameters():
        parameter.data = 0.4 * draw(*parameter.shape)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.03)
    for _ in range(steps):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimiser.step()
    net.requires_grad_(False)
    return Toy(net, x[:N_ROWS], y[:N_ROWS], 0.5 * draw(N_ROWS, N_PLAYERS))


def noise_value(seed: int = 5) -> LogLikelihood:
    """A reward that depends on nothing: where a leave-one-out baseline can only add variance."""
    generator = torch.Generator().manual_seed(seed)

    def value(z: Tensor, relaxed: Tensor | None = None) -> Tensor:
        return torch.randn(z.shape[:-1], dtype=torch.float64, generator=generator)

    return value


@dataclasses.dataclass(frozen=True)
class Case:
    """An estimator as it is measured.

    Args:
        gradient: The estimator.
        law: Law of the masks.
        m: Outer draws.
        l: Inner draws.
        evaluations: Predictor rows of one estimate, per explicand.
        unbiased: What its docstring says of itself.
    """

    gradient: Gradient
    law: MaskLaw
    m: int
    l: int
    evaluations: int
    unbiased: bool


BERNOULLI, THREE = Bernoulli(), TopK(3)

CASES: dict[str, Case] = {
    "enumeration": Case(Enumeration(), BERNOULLI, 1, 1, 64, True),
    "score function, 1 draw": Case(Reinforce("none"), BERNOULLI, 1, 1, 1, True),
    "score function, 4 draws": Case(Reinforce("none"), BERNOULLI, 4, 1, 4, True),
    "leave-one-out, 2 draws": Case(Reinforce(), BERNOULLI, 2, 1, 2, True),
    "leave-one-out, 4 draws": Case(Reinforce(), BERNOULLI, 4, 1, 4, True),
    "network baseline, 4 draws": Case(Reinforce("network"), BERNOULLI, 4, 1, 5, True),
    "score function, 2 inside": Case(Reinforce("none"), BERNOULLI, 1, 2, 2, True),
    "VIMCO, 2 inside": Case(Vimco(), BERNOULLI, 1, 2, 2, True),
    "REBAR, temperature 0.5": Case(Rebar(0.5), BERNOULLI, 1, 1, 3, True),
    "REBAR, temperature 0.1": Case(Rebar(0.1), BERNOULLI, 1, 1, 3, True),
    "concrete, temperature 1": Case(Pathwise(1.0), BERNOULLI, 1, 1, 1, False),
    "concrete, temperature 0.5": Case(Pathwise(0.5), BERNOULLI, 1, 1, 1, False),
    "concrete, temperature 0.1": Case(Pathwise(0.1), BERNOULLI, 1, 1, 1, False),
    "straight-through, 1": Case(Pathwise(1.0, True), BERNOULLI, 1, 1, 1, False),
    "straight-through, 0.5": Case(Pathwise(0.5, True), BERNOULLI, 1, 1, 1, False),
    "IMLE, step 2": Case(Imle(2.0), BERNOULLI, 1, 1, 1, False),
    "leave-one-out, 3 of 6, 4 draws": Case(Reinforce(), THREE, 4, 1, 4, True),
    "VIMCO, 3 of 6, 2 inside": Case(Vimco(), THREE, 1, 2, 2, True),
    "concrete, 3 of 6, 0.5": Case(Pathwise(0.5), THREE, 1, 1, 1, False),
    "IMLE, 3 of 6, step 2": Case(Imle(2.0), THREE, 1, 1, 1, False),
    "leave-one-out, L2X's union of 2, 4 draws": Case(Reinforce(), ConcreteTopK(2), 4, 1, 4, True),
}
"""The table's rows; sets of fixed size draw fewer estimates, since each costs an integral."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """One row of the table.

    Args:
        bias: Norm of (mean estimate - exact) relative to the exact norm.
        noise: What `bias` would be of an unbiased estimator, from its standard errors.
        z: Largest |mean - exact| in standard errors, over the 30 components.
        variance: Trace of the variance of one estimate, mean over explicands.
        microseconds: CPU time of one estimate for one explicand.
    """

    bias: float
    noise: float
    z: float
    variance: float
    microseconds: float


def measure(case: Case, toy: Toy, count: int) -> Measured:
    """Bias, variance and time of an estimator.

    Args:
        case: The estimator.
        toy: Where the gradient is wanted.
        count: Estimates for each explicand.

    Returns:
        Its row of the table.
    """
    exact = toy.exact(case.law, case.l)
    start = time.process_time()
    grads, _ = toy.estimates(case.gradient, case.law, case.m, case.l, count)
    seconds = time.process_time() - start
    error = grads.mean(0) - exact
    standard = grads.std(0) / count**0.5
    # an enumerated gradient differs by rounding alone, which is no standard error
    z = (error / standard.clamp(min=1e-12)).abs().max()
    return Measured(
        bias=float(error.norm() / exact.norm()),
        noise=float(standard.norm() / exact.norm()),
        z=float(z),
        variance=float(grads.var(0).sum(-1).mean()),
        microseconds=1e6 * seconds / (count * N_ROWS),
    )


def variance_ratio(
    toy: Toy, count: int, value: Callable[[], LogLikelihood] | None = None
) -> float:
    """Variance of leave-one-out over that of the plain score function, four draws each.

    Args:
        toy: Where.
        count: Estimates for each explicand.
        value: Makes another reward, or None for the toy's.
    """
    plain, helped = (
        toy.estimates(gradient, BERNOULLI, 4, 1, count, value=value and value())[0].var(0).sum()
        for gradient in (Reinforce("none"), Reinforce())
    )
    return float(helped / plain)


def page(count: int = 400_000) -> str:
    """The measured table as Markdown.

    Args:
        count: Mask draws' worth of estimates per explicand for Bernoulli masks; a twentieth of it
            for sets.
    """
    from bench.provenance import provenance

    toy, made = fitted_toy(), provenance()
    lines = [
        "# Gradients through z",
        "",
        (
            f"Made by `python -m bench.gradient_table`, commit {made.get('commit')}, "
            f"{made.get('hardware')}, {made.get('date')}."
        ),
        "",
        (
            "A predictor of three classes fitted to x0 x1 + x2, six players, five explicands, absent "
            "players zero; the exact gradient is that of all 64 masks. Relative bias is beside what "
            "chance alone would give an unbiased estimator of as many draws; |z| is the largest of 30 "
            "components in standard errors. Rows are predictor evaluations of one estimate; time is "
            "CPU time of one estimate in batches of thousands."
        ),
        "",
        (
            "| estimator | unbiased | draws | relative bias | by chance | max z | variance | "
            "variance x rows | rows | us |"
        ),
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, case in CASES.items():
        draws = count if isinstance(case.law, Bernoulli) else count // 20
        draws = 400 if isinstance(case.gradient, Enumeration) else draws
        row = measure(case, toy, draws)
        lines.append(
            f"| {name} | {'yes' if case.unbiased else 'no'} | {draws:,} | {row.bias:.4f} | "
            f"{row.noise:.4f} | {row.z:.1f} | {row.variance:.4f} | "
            f"{row.variance * case.evaluations:.3f} | {case.evaluations} | "
            f"{row.microseconds:.2f} |"
        )
    few = max(1000, count // 20)
    seeds = range(10)
    toys = {
        "ten toys of other seeds": [fitted_toy(seed) for seed in seeds],
        "ten sharper predictors (half the noise)": [fitted_toy(s, noise=0.5) for s in seeds],
        "ten networks as drawn": [fitted_toy(seed, steps=0) for seed in seeds],
    }
    spread = {
        name: sorted(variance_ratio(other, few) for other in group) for name, group in toys.items()
    }
    lines += [
        "",
        "## Leave-one-out is no general law",
        "",
        (
            "Variance of leave-one-out with four draws over that of the plain score function, which "
            "it lowers by as much as the reward's mean outweighs its spread:"
        ),
        "",
        "| reward | ratio |",
        "| --- | ---: |",
        f"| the toy above | {variance_ratio(toy, few):.3f} |",
        *(
            f"| {name}: least, median, most | {_three(ratios)} |"
            for name, ratios in spread.items()
        ),
        f"| noise of mean zero: the baseline adds a third | {variance_ratio(toy, few, noise_value):.3f} |",
    ]
    return "\n".join(lines) + "\n"


def _three(values: list[float]) -> str:
    return ", ".join(f"{values[i]:.3f}" for i in (0, len(values) // 2, -1))


def _grad(leaf: Tensor) -> Tensor:
    if leaf.grad is None:
        raise RuntimeError("the estimator's loss does not depend on the logits")
    return leaf.grad


if __name__ == "__main__":
    text = page()
    if len(sys.argv) > 1:
        from baselines.files import atomic_write

        atomic_write(Path(sys.argv[1]), text.encode())
    print(text)
