"""Where the parts of an expanded circuit lie."""

from pathlib import Path


def partition(circuit: str, layer: str, head: str) -> Path:
    """The folder of a circuit inside an expansion, in Hive style."""
    return Path(f"circuit={circuit}", f"layer={layer}", f"head={head}")
