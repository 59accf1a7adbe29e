"""Sentences on a file under a microcontroller's runtime, for tables and programs."""

CODE_TEXT = (
    "their code and the runtime's take flash as well: unknown, since it depends on the processor, "
    "its kernels and the compiler"
)


def agreement_text(agreement):
    """The difference to LiteRT's outputs, in a few words."""
    if agreement.steps is None:
        return f"error {agreement.error:.1g}"
    if agreement.steps == 0:
        return "equal"
    steps = "1 step" if agreement.steps == 1 else f"up to {agreement.steps} steps"
    return f"{agreement.share:.1%} of outputs differ by {steps}"


def where_text(agreement, shown=5):
    """The layers with tensors that differ from LiteRT without XNNPACK, in words."""
    if not agreement.layers:
        return "tensors are equal to those of LiteRT's own kernels, so XNNPACK rounds otherwise"
    parts = [
        f"{found.layer} ({found.largest:.3g} in {found.share:.1%})"
        for found in agreement.layers[:shown]
    ]
    return f"tensors that differ: {', '.join(parts)}"
