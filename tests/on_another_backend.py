"""Run as a program: what the backend of KERAS_BACKEND makes of a model that another one saved."""

import pathlib
import sys

import keras
import numpy as np

import keras_sparse  # noqa: F401 registers what the model names
from tests.trajectory import trajectories


def main(folder):
    """Writes the outputs and the optimizer's variables of the model, and `trajectories`."""
    model = keras.saving.load_model(folder / "model.keras")
    x = np.load(folder / "x.npy")
    np.savez(
        folder / "found.npz",
        outputs=model.predict(x, verbose=0),
        **{f"optimizer{i}": v.numpy() for i, v in enumerate(model.optimizer.variables)},
    )
    model.fit(x, np.zeros(len(x)), epochs=1, verbose=0)
    assert np.isfinite(model.predict(x, verbose=0)).all()
    np.savez(folder / "weights.npz", **trajectories())


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
