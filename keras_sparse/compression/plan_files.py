"""Saves scores and plans in a folder, so that a killed compression can continue."""

import hashlib
import json
import pathlib

import keras
import numpy as np

from keras_sparse.array_files import read_arrays
from keras_sparse.compression.budget import Budget
from keras_sparse.compression.checkpoint import with_added
from keras_sparse.compression.planning import Plan
from keras_sparse.files import replacing


class PlanFolder:
    """Saves scores and plans; without a folder it saves nothing.

    Args:
        folder: folder of `scores.npz` and `plan.npz`; None to save nothing.
        settings: JSON-serializable dict on which a plan depends: a plan with other settings is
            refused.
        of_scores: names of the settings on which the scores depend.

    Raises:
        ValueError: the folder holds a plan with other settings, or a damaged one.
    """

    def __init__(self, folder, settings, of_scores):
        self._folder = None if folder is None else pathlib.Path(folder)
        settings = json.loads(json.dumps(settings, default=_plain))
        self._settings = {"plan": settings, "scores": {name: settings[name] for name in of_scores}}
        for name in self._settings:
            self._read(name)

    def scores(self, groups, compute):
        """The saved scores; if there are none, the scores of `compute()`, which are then saved.

        Args:
            groups: list of `surgery.ChannelGroup`; always of the same model.
            compute: function that returns `{group: float array (channels,)}`.
        """
        kept = self._read("scores")
        if kept is not None:
            return dict(zip(groups, kept[1], strict=True))
        scores = compute()
        self._write("scores", {}, [scores[group] for group in groups])
        return scores

    def plan(self, groups, fixed):
        """The saved `(plan, seconds)`, see `save_plan`; None if there are none.

        Args:
            groups, fixed: see `removable_and_fixed`.
        """
        kept = self._read("plan")
        if kept is None:
            return None
        facts, arrays = kept
        costs = {name: tuple(both) for name, both in facts["costs"].items()}
        plan = Plan(
            groups=tuple(groups),
            widths=arrays[0],
            scores=dict(zip(groups, arrays[1:], strict=True)),
            budget=Budget(facts["limits"]),
            costs=costs,
            asked=facts["asked"],
            peak=facts.get("peak", {}),
            fixed=fixed,
        )
        return plan, {name: tuple(both) for name, both in facts["seconds"].items()}

    def save_plan(self, plan, seconds):
        """Saves a `Plan`, and the measured `{cost: (before, after)}`."""
        facts = {
            "limits": plan.budget.limits,
            "costs": plan.costs,
            "asked": plan.asked,
            "peak": plan.peak,
            "seconds": seconds,
        }
        arrays = [plan.widths, *(plan.scores[group] for group in plan.groups)]
        self._write("plan", facts, arrays)

    def _write(self, name, facts, arrays):
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"settings": self._settings[name], **facts}, default=float)
        with replacing(self._folder / f"{name}.npz") as temporary:
            np.savez(temporary, *arrays, facts=text)

    def _read(self, name):
        """`(facts, arrays)`; None if there is no file."""
        if self._folder is None or not (self._folder / f"{name}.npz").exists():
            return None
        path = self._folder / f"{name}.npz"
        try:
            named = read_arrays(path)
            facts = json.loads(str(named["facts"]))
            arrays = [named[f"arr_{i}"] for i in range(len(named) - 1)]
            found = facts.pop("settings")
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ValueError(
                f"`folder` has a {path.name} that cannot be read: {error}. Give another folder to "
                "start again."
            ) from error
        self._check(found, self._settings[name])
        return facts, arrays

    def _check(self, found, wanted):
        found = with_added(found, wanted)
        names = [name for name in {**found, **wanted} if found.get(name) != wanted.get(name)]
        if names:
            old, new = (
                ", ".join(f"{name}={settings.get(name)!r}" for name in sorted(names))
                for settings in (found, wanted)
            )
            raise ValueError(
                f"`folder` holds a compression that was started with {old}, not {new}. Give "
                f"another folder to start again. Received: folder={str(self._folder.parent)!r}"
            )


def _plain(value):
    """Converts NumPy numbers to Python numbers, and other objects to their `repr`."""
    return value.item() if isinstance(value, np.generic) else repr(value)


def weights_digest(model):
    """A hash of a model's weights."""
    digest = hashlib.sha256()
    for weight in model.weights:
        array = np.ascontiguousarray(keras.ops.convert_to_numpy(weight))
        # A Sequential that is loaded from a file has shorter paths than before.
        digest.update(f"{weight.name} {array.shape} {array.dtype} ".encode())
        digest.update(array.view(np.uint8).data if array.size else b"")
    return digest.hexdigest()[:16]


def plan_digest(plan):
    """A hash of the channels to remove."""
    digest = hashlib.sha256()
    for group, mask in plan.removed.items():
        digest.update(f"{group.name} {np.packbits(mask).tobytes().hex()} ".encode())
    return digest.hexdigest()[:16]
