"""Missed targets of a training, for its report."""

import contextlib
import warnings

from keras_sparse.optimizers.targets import MissedTargetWarning

_FLAGS = "The flags for it: --epochs, --target_sparsity, --ramp_steps, --prune_until, --exclude."


@contextlib.contextmanager
def missed_targets():
    """Collects the optimizers' warnings at the end of `fit`; other warnings are shown.

    Yields:
        A list of dicts with `asked`, `reached` and `why`.
    """
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("always", MissedTargetWarning)
        show = warnings.showwarning

        def keep(message, *arguments, **options):
            if isinstance(message, MissedTargetWarning):
                why = f"{message.why} {_FLAGS}"
                found.append({"asked": message.asked, "reached": message.got, "why": why})
            else:
                show(message, *arguments, **options)

        warnings.showwarning = keep
        yield found
