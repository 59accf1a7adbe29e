"""Times the exact choice of the k largest weights against a full sort, under XLA.

    python -m benchmarks.selection                      (KERAS_BACKEND=jax for JAX)

k is known only at run time. The table has the best of several interleaved runs in milliseconds: the
mask of exactly k weights by bisection of the bits (on a GPU, four bits at a time); the k-th largest
by a full sort (no mask, no ties broken); NumPy's `partition` on the host, including the transfer;
and sort / bisection.
"""

import time

import keras
import numpy as np
from absl import app, flags
from keras import ops

from benchmarks.machine import describe
from keras_sparse.masks.packing import Packing
from keras_sparse.masks.selection import magnitude_keys, select_largest

_SIZES = flags.DEFINE_list("sizes", "100000,1000000,10000000", "how many weights")
_REPEATS = flags.DEFINE_integer("repeats", 5, "runs of each, interleaved", lower_bound=1)
_SHARE = flags.DEFINE_float("share", 0.1, "k over the number of weights", 0.0, 1.0)


def under_xla(function):
    """The function, compiled by XLA; it also returns a number to wait for."""

    def with_mark(*arguments):
        result = function(*arguments)
        return result, ops.any(ops.cast(result, "bool"))

    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(with_mark)
    import tensorflow as tf

    return tf.function(with_mark, jit_compile=True, autograph=False)


def methods(size):
    """Name to function of weights and k."""
    packing = Packing([(size, 1)])

    def bisection(x, k):
        packed = packing.pack([x])
        return select_largest(
            magnitude_keys(packed), ops.reshape(k, (1,)), packing, packing.valid()
        )

    def sort(x, k):
        return ops.take(ops.sort(ops.reshape(ops.abs(x), (-1,))), size - k)

    def on_host(x, k):
        place = size - int(k)
        found = np.partition(np.abs(ops.convert_to_numpy(x)).ravel(), place)[place]
        return found, found

    return {"bisection": under_xla(bisection), "sort": under_xla(sort), "partition": on_host}


def milliseconds(function, *arguments):
    start = time.perf_counter()
    # A GPU is still computing after the call.
    ops.convert_to_numpy(function(*arguments)[1])
    return 1e3 * (time.perf_counter() - start)


def main(_):
    print(describe())
    print("| weights | bisection | sort | NumPy partition | sort / bisection |")
    print("|---|---|---|---|---|")
    rng = np.random.default_rng(0)
    for size in map(int, _SIZES.value):
        x = ops.convert_to_tensor(rng.standard_normal((size, 1)).astype("float32"))
        k = ops.convert_to_tensor(int(_SHARE.value * size), "int32")
        functions = methods(size)
        best = dict.fromkeys(functions, float("inf"))
        for _ in range(_REPEATS.value + 1):  # the first run compiles
            for name, function in functions.items():
                best[name] = min(best[name], milliseconds(function, x, k))
        ratio = best["sort"] / best["bisection"]
        times = " | ".join(f"{t:.2f}" for t in best.values())
        print(f"| {size:,} | {times} | {ratio:.1f} |", flush=True)


if __name__ == "__main__":
    app.run(main)
