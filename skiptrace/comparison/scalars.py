"""Parameters and metrics of two versions side by side, and which differences exceed the noise of a seed."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from skiptrace.comparison.version import Version

CONFIDENCE = 0.95


def flat(value: Any, key: str = "") -> dict[str, Any]:
    """A nested mapping as `a.b.c: value`, in its own order; lists stay whole."""
    if not isinstance(value, dict):
        return {key: value}
    return {
        k: v for name, inner in value.items() for k, v in flat(inner, f"{key}.{name}" if key else str(name)).items()
    }


class Parameter(NamedTuple):
    """A key of params.yaml that differs; None where a version lacks it, a mapping where that lacks a whole group."""

    key: str
    a: Any
    b: Any


def parameters(a: Version, b: Version) -> list[Parameter]:
    """Every leaf of the parameters that is not the same in both, and every group that only one has, in order."""
    return list(_differing(a.params, b.params, ""))


def _differing(a: Any, b: Any, key: str) -> Iterator[Parameter]:
    if isinstance(a, dict) and isinstance(b, dict):
        for name in dict.fromkeys([*a, *b]):
            yield from _differing(a.get(name), b.get(name), f"{key}.{name}" if key else str(name))
    elif repr(a) != repr(b):
        # 1 and 1.0 and True are equal to Python but not to whoever reads the parameters.
        yield Parameter(key, a, b)


class Noise(NamedTuple):
    """A difference that another seed exceeds at most once in twenty times, and how many seeds say so."""

    difference: float
    seeds: int


class Measure(NamedTuple):
    """A metric in both versions; None where a version lacks it, or nobody knows the noise."""

    key: str
    a: float | None
    b: float | None
    noise: Noise | None

    @property
    def difference(self) -> float | None:
        """What the second has more than the first."""
        return None if self.a is None or self.b is None else self.b - self.a

    @property
    def beyond(self) -> bool | None:
        """Whether the difference exceeds the noise; None if that is unknown."""
        if self.difference is None or (self.noise is None and self.difference != 0):
            return None
        return self.noise is not None and abs(self.difference) > self.noise.difference


def measures(a: Version, b: Version) -> list[Measure]:
    """Every number among the metrics of both versions, in order, equal ones too.

    Those of a model that only one version has are left out: there is nothing to compare them with.
    """
    before, after = _numbers(a.metrics), _numbers(b.metrics)
    alone = tuple(f"models.{name}." for name in a.named.keys() ^ b.named.keys())
    keys = [key for key in dict.fromkeys([*before, *after]) if not key.startswith(alone)]
    noise = {key: _noise(key, a, b) for key in keys if key in before and key in after}
    return [Measure(key, before.get(key), after.get(key), noise.get(key)) for key in keys]


def twins(version: Version, name: str) -> list[str]:
    """The model and those of the same version whose parameters differ from its own in the seed alone."""
    own = _without_seed(version, name)
    return [other for other in version.named if _without_seed(version, other) == own]


class Spread(NamedTuple):
    """The standard deviation of a value over so many seeds."""

    sd: float
    seeds: int


def pooled_noise(groups: Sequence[Sequence[float]], spreads: Sequence[Spread] = ()) -> Noise | None:
    """What two values differ by, at least 19 times in 20, if the groups are normal noise about their means.

    A prediction interval from the pooled standard deviation. The two values that are compared with it
    are among those it is estimated from, which makes it wider than it need be: 2 to 4 of 100
    differences of mere noise exceed it. None where no group has two values, or where none differ
    at all: two equal counts do not show that there is no noise.
    """
    several = [Spread(float(np.std(group, ddof=1)), len(group)) for group in groups if len(group) > 1]
    several += [spread for spread in spreads if spread.seeds > 1]
    freedom = sum(spread.seeds - 1 for spread in several)
    if not freedom:
        return None
    sd = math.sqrt(sum(spread.sd**2 * (spread.seeds - 1) for spread in several) / freedom)
    limit = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * sd * math.sqrt(2)
    return Noise(limit, sum(spread.seeds for spread in several)) if sd > 0 else None


def _noise(key: str, a: Version, b: Version) -> Noise | None:
    """From the seeds of the model that a key `models.<m>.<metric>` is about, and from the twins trained beside it."""
    prefix, _, rest = key.partition(".")
    name, _, metric = rest.partition(".")
    if prefix != "models" or not all(name in version.named for version in (a, b)):
        return None
    groups = [tuple(_values(version, name, metric)) for version in (a, b)]
    spreads = [spread for version in (a, b) if (spread := _spread(version, name, metric)) is not None]
    # Equal groups are the same runs twice, not twice as many.
    return pooled_noise(list(dict.fromkeys(groups)), list(dict.fromkeys(spreads)))


def _spread(version: Version, name: str, metric: str) -> Spread | None:
    """What a model's own twins say of a headline number; None if there are none."""
    sd = _numbers(version.metrics).get(f"models.{name}.twin_spread.{metric}")
    seeds = version.named[name].get("twins", 0)
    if sd is None or not isinstance(seeds, int):
        return None
    return Spread(sd, 1 + seeds)


def _values(version: Version, name: str, metric: str) -> Iterator[float]:
    found = _numbers(version.metrics)
    for twin in twins(version, name):
        value = found.get(f"models.{twin}.{metric}")
        if value is not None:
            yield value


def _without_seed(version: Version, name: str) -> dict[str, Any]:
    return {key: value for key, value in version.named[name].items() if key != "seed"}


def _numbers(metrics: dict[str, Any]) -> dict[str, float]:
    return {k: float(v) for k, v in flat(metrics).items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
