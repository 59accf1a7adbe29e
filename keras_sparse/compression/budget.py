"""Limits on the costs of the compact model."""

import dataclasses
import math
import numbers
import re
import warnings

# Names of costs that a target may limit.
COSTS = (
    "parameters", "macs", "float32_bytes", "int8_bytes", "memory", "latency", "int8_latency",
    "arena", "flash",
)  # fmt: skip
# Those that can be counted exactly on a model.
COUNTED = ("parameters", "macs", "memory")
# Number of reasons for kept channels in a message.
_REASONS = 3


@dataclasses.dataclass(frozen=True)
class Budget:
    """Upper limits on costs; all of them must hold.

    Args:
        limits: `{cost: number}`, absolute: counts, bytes, or seconds.
    """

    limits: dict

    @classmethod
    def of(cls, target, costs):
        """Makes the budget from the user's target.

        Args:
            target: `{cost: number}`. A number up to 1 is a fraction of the model's cost. A larger
                number, or a quantity such as `"2 ms"`, is absolute. A latency above 1 needs a unit.
            costs: `{cost: the model's cost}` for the costs that can be requested.

        Raises:
            ValueError: a cost is unknown or needs a latency table, a number is not positive, or a
                latency above 1 has no unit.
        """
        if not isinstance(target, dict) or not target:
            raise ValueError(
                f"`target` must be a dict such as {{'macs': 0.5}}. Received: target={target!r}"
            )
        limits = {}
        for name, value in target.items():
            if name not in COSTS:
                raise ValueError(f"`target` may limit {COSTS}. Received: target={target!r}")
            if name not in costs:
                raise ValueError(
                    f"`target` limits {name!r}, which has to be measured: give "
                    f"`latency={{{name!r}: table}}` with an `export.LatencyTable`. "
                    f"Received: target={target!r}"
                )
            limits[name] = _limit(name, value, costs[name])
        return cls(limits)

    def met(self, costs):
        """Whether no cost is above its limit."""
        return all(costs[name] <= limit for name, limit in self.limits.items())


def warn_if_met(budget, costs):
    """Warns if the costs of the whole model are within the budget, so that nothing is removed."""
    if budget.met(costs):
        each = ", ".join(
            f"{name} costs {in_words(name, costs[name])}, and the limit is {in_words(name, limit)}"
            for name, limit in budget.limits.items()
        )
        warnings.warn(
            f"The model meets `target` already, so no channels are removed: {each}. For a smaller "
            "model, lower a limit.",
            stacklevel=4,
        )


def in_words(name, value):
    """A cost as people read it: `"0.12 ms"`, `"22,460,000"`, `"1,024 bytes"`."""
    if name.endswith("latency"):
        return f"{1e3 * value:.4g} ms"
    number = f"{value:,.0f}" if value >= 1 else f"{value:.4g}"
    return number + (" bytes" if _units(name) is BYTES else "")


def missed_limits(limits, costs, report):
    """A text for each cost of a compact model that is above its limit.

    Args:
        limits: `{cost: number}`.
        costs: `{cost: number}` of the compact model.
        report: the `surgery.Report` of the removal, which says why channels stay.

    Returns:
        List of strings.
    """
    return [
        f"The compact model's {name} is {in_words(name, cost)}, {cost / limit - 1:.1%} above the "
        f"{in_words(name, limit)} that were requested."
        + (f" {_why_missed(report)}" if name in COUNTED else "")
        for name, cost in costs.items()
        if cost > (limit := limits.get(name, math.inf))
    ]


def _why_missed(report):
    stay = []
    for kept in report.dead_kept[:_REASONS]:
        first, *others = kept.layers
        layers = f"{first} and {len(others)} more layers" if others else first
        stay.append(f"{kept.channels} of {layers}: {kept.reason}")
    if stay:
        return f"Channels stay though they do not depend on the input ({'; '.join(stay)})."
    return (
        "The prediction takes all channels of a group to cost the same, and each operation to stay "
        "one operation."
    )


def _limit(name, value, full):
    if isinstance(value, str):
        number = _number(value)
        if math.isnan(number):
            return _quantity(name, value)
        value = number  # a number as text, such as a fraction
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value <= 0:
        raise ValueError(
            f"`target` must have a share in (0, 1], a larger number or a quantity such as '2 ms' "
            f"or '100 kB' for {name!r}. Received: {value!r}"
        )
    if value > 1 and _units(name) is SECONDS:
        raise ValueError(
            f"`target` must have a unit for {name!r} above 1, such as '{value:g} ms'. Numbers up "
            f"to 1 are shares of the model's own. Received: {value!r}"
        )
    return value * full if value <= 1 else float(value)


SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
BYTES = {"B": 1.0, "kB": 1e3, "MB": 1e6, "KiB": 1024.0, "MiB": 1024.0**2}
COUNTS = {"k": 1e3, "M": 1e6, "G": 1e9}


def _units(name):
    """`{unit: factor}` of the units of a cost."""
    if name.endswith("latency"):
        return SECONDS
    return COUNTS if name in ("parameters", "macs") else BYTES


def _quantity(name, text):
    units = _units(name)
    number, unit = re.fullmatch(r"(.*?)\s*([A-Za-z]*)\s*", text, re.DOTALL).groups()
    value = _number(number) * units.get(unit, math.nan)
    if not 0 < value < math.inf:
        raise ValueError(
            f"`target` has no quantity for {name!r}: give a number and one of {', '.join(units)}, "
            f"such as '12.5 {next(iter(units))}', or a share, such as 0.5. Received: {text!r}"
        )
    return value


def _number(text):
    try:
        return float(text)
    except ValueError:
        return math.nan
