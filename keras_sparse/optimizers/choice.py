"""The choice of the variables that an optimizer makes sparse."""

import math
import re

from keras_sparse import _keras
from keras_sparse.variables import (
    by_path,
    check_any_prunable,
    check_patterns_match,
    frozen_patterns,
    is_prunable,
    path_patterns,
)


class ChoosesVariables:
    """Base of the optimizers with an `exclude`: decides by the first paths of the variables.

    The paths of variables change when Keras loads a model, and in surgery. So the optimizer saves
    the first paths, in the order of the variables. It also saves the shapes before surgery, because
    a target is a share of the whole network.
    """

    _first_paths = None
    _first_shapes = None
    _whole_shapes = None
    _was_saved = False
    # Whether a config made it: Keras then builds it before it loads the weights.
    _was_configured = False
    # How many variables it had before it was built.
    _unbuilt_size = None
    # Whether training continues with a compact model after `fit`: then no target is missed yet.
    training_goes_on = False

    def _set_exclude(self, exclude):
        self.exclude = path_patterns(exclude)
        self._frozen_excludes = frozen_patterns(exclude)

    def _choose(self, variables):
        """A list of bools: whether each variable is made sparse. `build` calls it."""
        shapes = [list(v.shape) for v in variables]
        if self._first_paths is None or shapes != self._first_shapes:
            self._first_paths = [v.path for v in variables]
            self._first_shapes = self._whole_shapes = shapes
            checked = [p for p in self.exclude if p not in self._frozen_excludes]
            check_patterns_match(checked, self._first_paths)
        return [
            is_prunable(v, self.exclude, path)
            for v, path in zip(variables, self._first_paths, strict=True)
        ]

    def _is_excluded(self, index):
        """Whether `exclude` names the variable, whatever it is."""
        return any(re.search(pattern, self._first_paths[index]) for pattern in self.exclude)

    def _check_any(self, chosen):
        check_any_prunable(self, self._first_paths, chosen)

    def choose_like(self, optimizer, variables, sources, of_the_whole=True):
        """Choose the same variables as another optimizer; call it before `build`.

        Args:
            optimizer: an optimizer of the same class.
            variables: list of the variables on which this optimizer will be built.
            sources: list of the path of each variable in the model of `optimizer`, None for a new
                variable.
            of_the_whole: whether a target is a share of the network before surgery.
        """
        own = [
            (source or v.path, list(v.shape)) for v, source in zip(variables, sources, strict=True)
        ]
        wholes = {}
        if optimizer._first_paths is not None and optimizer.built:
            paths = by_path(_keras.variables_of(optimizer))
            pairs = zip(optimizer._first_paths, optimizer._whole_shapes, strict=True)
            wholes = dict(zip(paths, pairs, strict=True))
        found = [wholes.get(source, pair) for source, pair in zip(sources, own, strict=True)]
        self._first_paths, self._whole_shapes = map(list, zip(*found, strict=True))
        self._first_shapes = [shape for _, shape in own]
        if not of_the_whole:
            self._whole_shapes = self._first_shapes

    def whole_size(self, variables):
        """How many weights these variables had before surgery."""
        indices = [_keras.index_of(self, v) for v in variables]
        return sum(math.prod(self._whole_shapes[i]) for i in indices)

    def get_config(self):
        """The arguments, for `keras.saving`, and the paths and shapes of the variables."""
        config = super().get_config()
        config["exclude"] = [str(p) for p in self.exclude if p not in self._frozen_excludes]
        if self._first_paths is not None:
            config["built_on"] = {
                "paths": list(self._first_paths),
                "shapes": list(map(list, self._first_shapes)),
                "whole_shapes": list(map(list, self._whole_shapes)),
            }
        return config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        built_on = config.pop("built_on", None)
        optimizer = super().from_config(config, custom_objects)
        optimizer._was_configured = True
        optimizer._unbuilt_size = len(optimizer.variables)
        if built_on is not None:
            optimizer._first_paths = list(built_on["paths"])
            optimizer._first_shapes = [list(shape) for shape in built_on["shapes"]]
            optimizer._whole_shapes = [list(shape) for shape in built_on["whole_shapes"]]
            optimizer._was_saved = True
        return optimizer

    def _start_from_weights(self):
        """Make again what `build` makes of the weights: now they are loaded."""

    # Names of state that older files do not have, in groups; the last group is the newest.
    _added_to_state = ()

    def load_own_variables(self, store):
        """Load the state, also from a file of an older version; raises if it does not fit.

        The state of an optimizer that was saved before it was built leaves all to the weights.
        """
        if not self._was_saved and self.built and len(store.keys()) == self._unbuilt_size:
            for i, variable in enumerate(self.variables[: self._unbuilt_size]):
                variable.assign(store[str(i)])
            self._start_from_weights()
            return
        missing = set()
        for newer in (None, *reversed(self._added_to_state)):
            missing.update(newer or ())
            there = [v for v in self.variables if not v.name.endswith(tuple(missing))]
            if len(there) == len(store.keys()) and all(
                tuple(v.shape) == tuple(store[str(i)].shape) for i, v in enumerate(there)
            ):
                for i, variable in enumerate(there):
                    variable.assign(store[str(i)])
                return
        if self._was_saved:
            raise ValueError(
                f"The saved state of {type(self).__name__} has {len(store.keys())} variables, and "
                f"the optimizer that was loaded has {len(self.variables)}, so training cannot "
                "continue from it. Load the model with `compile=False` and compile it with a "
                "new optimizer."
            )
        super().load_own_variables(store)
