"""Targets that a training did not meet, for its report."""

import contextlib
import re
import warnings

# As optimizers say it; see `keras_sparse.optimizers.targets`.
_SAID = re.compile(r"asked for a sparsity of (\S+) and training ended with (\S+)\. (.*)", re.DOTALL)
_FLAGS = "The flags for it: --epochs, --target_sparsity, --ramp_steps, --prune_until, --exclude."


@contextlib.contextmanager
def missed_targets():
    """Collects what optimizers warn of at the end of `fit`; other warnings are shown as ever.

    Yields:
        A list, of a dict with `asked`, `reached` and `why` for each of them.
    """
    found = []
    with warnings.catch_warnings():
        warnings.filterwarnings("always", ".*asked for a sparsity of")
        show = warnings.showwarning

        def keep(message, *arguments, **options):
            said = _SAID.search(str(message))
            if said:
                asked, reached, why = said.groups()
                told = {"asked": float(asked), "reached": float(reached), "why": f"{why} {_FLAGS}"}
                found.append(told)
            else:
                show(message, *arguments, **options)

        warnings.showwarning = keep
        yield found
