"""Flags that belong to one choice only, and checks of what absl cannot check."""


def check(holds, name, wanted, values):
    """Raise a ValueError that names a flag, unless something holds."""
    if not holds:
        raise ValueError(f"--{name} must be {wanted}. Received: {values[name].value}")


def refuse_unused(choice, takes, values):
    """Raise a ValueError for a flag that was given and that the choice would not use.

    Args:
        choice: name of the flag that chooses.
        takes: dict from each of its values to the names of the flags that belong to it.
        values: the `FlagValues`; None as the value of `choice` is looked up as such.
    """
    chosen = values[choice].value
    for name in sorted(set().union(*takes.values())):
        if values[name].present and name not in takes[chosen]:
            fitting = " or ".join(str(key) for key, names in takes.items() if name in names)
            raise ValueError(
                f"--{name} is for --{choice}={fitting}: leave it away, or choose that. Received: "
                f"--{choice}={chosen}"
            )
