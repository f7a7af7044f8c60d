# captum ships no types; its explainers are asked by name and answer tensors.

from typing import Any

def __getattr__(name: str) -> Any: ...  # noqa: ANN401 - what has no types
