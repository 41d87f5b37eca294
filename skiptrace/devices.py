"""Where arithmetic runs: stages read `SKIPTRACE_DEVICE` once and pass the device on; the CPU by default."""

import os

import torch

from skiptrace.errors import InputError

CPU = torch.device("cpu")


def device() -> torch.device:
    """The device that `SKIPTRACE_DEVICE` names: cpu (the default), cuda, mps, or auto for the best that is there.

    Raises:
        InputError: it names none of these, or one that this machine lacks.
    """
    asked = os.environ.get("SKIPTRACE_DEVICE", "cpu")
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if asked == "auto":
        return torch.device(next(name for name in ("cuda", "mps", "cpu") if there[name]))
    if asked not in there:
        raise InputError(f"SKIPTRACE_DEVICE: expected one of {', '.join([*there, 'auto'])}, got {asked!r}")
    if not there[asked]:
        have = ", ".join(name for name, here in there.items() if here)
        raise InputError(f"SKIPTRACE_DEVICE: there is no {asked} here; this machine has {have}, or say auto")
    return torch.device(asked)
