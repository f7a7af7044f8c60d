import numpy as np

def thin_K(
    K_split: np.ndarray,
    K_swap: np.ndarray,
    m: int,
    delta: float = 0.5,
    seed: int | None = None,
    unique: bool = False,
    mean0: bool = False,
) -> np.ndarray: ...
