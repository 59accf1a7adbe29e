"""Updates inside the training step that most steps can be compiled without."""

import contextlib


class SeparableUpdate:
    """What an optimizer with an update in some of its steps tells `SeparateUpdates`.

    A compiled step decides by a conditional whether its update is due. On a GPU the host waits for
    the answer, in every step; one that counts the steps itself can run a program without it.
    """

    _leaves_out_update = False

    @contextlib.contextmanager
    def without_update(self):
        """A context in which a step has no update, to trace and to run those that have none due."""
        self._leaves_out_update = True
        try:
            yield
        finally:
            self._leaves_out_update = False

    def batches_without_update(self, done):
        """How many batches in a row change nothing but by their gradients.

        Args:
            done: int, `iterations` so far, counted in batches where gradients are accumulated.

        Returns:
            int or infinity, 0 if the next batch may update; None if no step ever does.
        """
        raise NotImplementedError
