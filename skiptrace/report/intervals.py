"""How an estimate with its interval is written: with the digits that the interval supports."""

import math

import pandas as pd


def decimals(low: float, high: float) -> int:
    """Decimals at which half the interval has one digit, or two where the first is a 1; at least none, at most six."""
    half = (high - low) / 2
    if not math.isfinite(half) or half <= 0:
        return 3
    first = math.floor(math.log10(half))
    leading = round(half / 10**first, 6)
    return min(6, max(0, -first + int(leading < 2)))


def bracketed(value: float, low: float, high: float, unit: str = "") -> str:
    """`0.31 [0.25, 0.37] nats`; only the value where the interval is not finite."""
    places = decimals(low, high)
    shown = f"{value:.{places}f}"
    if math.isfinite(low) and math.isfinite(high):
        shown += f" [{low:.{places}f}, {high:.{places}f}]"
    return f"{shown} {unit}".rstrip()


def with_error(value: float, half: float) -> str:
    """`4.68 ± 0.03`, half of the interval after the sign; only the value where it is not finite."""
    places = decimals(-half, half)
    return f"{value:.{places}f} ± {half:.{places}f}" if math.isfinite(half) else f"{value:.{places}f}"


def share(value: float, low: float, high: float) -> str:
    """A share between 0 and 1 in percent: `4.2% [3.1, 5.4]`."""
    return bracketed(100 * value, 100 * low, 100 * high).replace(" ", "% ", 1)


def estimate(row: pd.Series) -> str:
    """A row of data/evidence/<m>/costs: `0.31 [0.25, 0.37] nats`."""
    return bracketed(float(row["nats"]), float(row["low"]), float(row["high"]), "nats")


def rounded(value: float) -> float:
    """Six digits: more would be noise."""
    return round(float(value), 6)
