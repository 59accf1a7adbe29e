"""Run as a program, on the backend of KERAS_BACKEND: what another backend must find as well."""

import json
import pathlib
import sys

import keras
import numpy as np
from keras import ops

import keras_sparse
import keras_sparse.models

OPTIMIZERS = {
    "target": lambda: keras_sparse.RDA(ramp_steps=30),
    "published": lambda: keras_sparse.RDA(1.0, l1=0.05, variant="published"),
    "channel": lambda: keras_sparse.RDA(0.5, l1=0.1, groups="channel"),
    "grda": lambda: keras_sparse.GRDA(0.5, c=0.1),
    "prox_sgd": lambda: keras_sparse.ProxSGD(None, l1=0.05),
}


def trajectories(steps=25):
    """`{optimizer name: float32 array (steps, weights)}` for given gradients."""
    found = {}
    for name, make in OPTIMIZERS.items():
        rng = np.random.default_rng(0)
        shapes = {"a/kernel": (4, 6), "a/bias": (6,), "b/kernel": (6, 3)}
        variables = [
            keras.Variable(rng.normal(0, 1, shape), name=path.split("/")[1], dtype="float32")
            for path, shape in shapes.items()
        ]
        optimizer = make()
        optimizer.build(variables)
        values = []
        for _ in range(steps):
            # Pulled towards zero, as a loss would.
            gradients = [
                0.1 * ops.convert_to_numpy(v) + rng.normal(0, 0.3, v.shape) for v in variables
            ]
            optimizer.apply([ops.convert_to_tensor(g, "float32") for g in gradients])
            values.append(np.concatenate([ops.convert_to_numpy(v).ravel() for v in variables]))
        found[name] = np.array(values)
    return found


def main(folder):
    """Writes the weights of each step, and facts, beside the folder of `pictures`."""
    facts = {"imports_tensorflow": "tensorflow" in sys.modules}
    np.savez(folder / "weights.npz", **trajectories())
    from tests.data import pictures

    facts["digests"] = pictures.digests(folder / "pictures")
    (folder / "facts.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
