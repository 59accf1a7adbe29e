"""Counts the kernels of a training step on an NVIDIA GPU; no GPU needed.

    pip install 'jax[cuda12]'
    KERAS_BACKEND=jax python -m benchmarks.gpu_kernels --model=lenet_5

Steps of this library's optimizers are compared with those of SGD and Adam. XLA compiles the step
for a described H200, and writes what it would run: kernels (including copies of memory) and
convolutions of cuDNN, in an ordinary step and in an update; and whether the host waits for a
conditional in every step, or the conditional is part of a CUDA graph. XLA's flags come from the
environment.

"Apart" is the step that `SeparateUpdates` runs if no update is due. Where XLA would choose a kernel
by timing (autotuning), its first choice is used. GB are the bytes that all kernels of an ordinary
step read and write. Divided by the bandwidth of 4.8 TB/s they give a part of the time; the
convolutions' arithmetic comes on top. Nothing is timed.
"""

import collections
import contextlib
import math
import os
import pathlib
import re
import tempfile
from unittest import mock

import jax
import keras
import numpy as np
from absl import app, flags
from jax.experimental import topologies

from keras_sparse import models
from keras_sparse.optimizers import (
    DSR,
    RDA,
    SET,
    SNIP,
    DeepR,
    MagnitudePruning,
    RigL,
    SparseMomentum,
)

_MODEL = flags.DEFINE_enum("model", "lenet_5", ["lenet_5", "resnet_18"], "what is trained")
_BATCH = flags.DEFINE_integer("batch_size", None, "100 or 32 by default", lower_bound=1)
_POLICY = flags.DEFINE_enum(
    "policy", "float32", ["float32", "mixed_bfloat16"], "what layers compute in"
)
_ONLY = flags.DEFINE_string("optimizers", "", "regular expression of those that are compiled")

# XLA's own description of an H200, with a driver that supports conditionals in CUDA graphs.
_H200 = """
gpu_device_info {
  threads_per_block_limit: 1024  threads_per_warp: 32  threads_per_core_limit: 2048
  shared_memory_per_block: 49152  shared_memory_per_core: 233472
  shared_memory_per_block_optin: 232448
  core_count: 132  fpus_per_core: 128  clock_rate_ghz: 1.98
  block_dim_limit_x: 2147483647  block_dim_limit_y: 65535  block_dim_limit_z: 65535
  memory_bandwidth: 4800000000000  l2_cache_size: 62914560  device_memory_size: 150000000000
  cuda_compute_capability { major: 9 }
  registers_per_core_limit: 65536  registers_per_block_limit: 65536
  driver_version: "12.9.0"
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 }
runtime_version { major: 12 minor: 9 patch: 0 }
device_description_str: "NVIDIA H200"
"""

# Operations without a kernel, and the conditional, which contains the update.
_FREE = ("parameter", "get-tuple-element", "tuple", "bitcast", "constant", "conditional")
_BYTES = {
    **dict.fromkeys(("pred", "s8", "u8"), 1),
    **dict.fromkeys(("bf16", "f16"), 2),
    **dict.fromkeys(("f32", "s32", "u32"), 4),
    **dict.fromkeys(("s64", "u64"), 8),
}

OPTIMIZERS = {
    "SGD, Nesterov": lambda: keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "Adam": keras.optimizers.Adam,
    "RDA": RDA,
    "RDA, apart": RDA,
    "SparseMomentum": SparseMomentum,
    "SparseMomentum, apart": SparseMomentum,
    "RigL": RigL,
    "RigL, apart": RigL,
    "SET": SET,
    "DSR": DSR,
    "DeepR": DeepR,
    "SNIP": SNIP,
    "MagnitudePruning": MagnitudePruning,
    "RDA by channel": lambda: RDA(target_sparsity=0.5, groups="channel"),
}


def described_gpu():
    """The described H200 that XLA compiles for."""
    if keras.backend.backend() != "jax":
        raise SystemExit("Start it with KERAS_BACKEND=jax.")
    options = {"target_config": _H200, "topology": "1x1x1"}
    try:
        return topologies.get_topology_desc("1x1x1", "cuda", **options)
    except NotImplementedError:
        raise SystemExit("It needs JAX's compiler for CUDA: pip install 'jax[cuda12]'") from None


def compile_step(name, make, batch, device, dump):
    """Compile the training step with XLA; the file with its operations, and the program."""
    model = getattr(models, _MODEL.value)()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(make(), loss)
    data = np.zeros((batch, *model.input_shape[1:]), "float32"), np.zeros(batch, "int32")
    model.optimizer.build(model.trainable_variables)
    model._symbolic_build(data_batch=data)
    variables = (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )
    shapes = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype),
        ([[v.value for v in part] for part in variables], data),
    )

    def step(state, data):
        return model.train_step(tuple(state), data)

    step.__name__ = "step_" + "".join(filter(str.isalnum, name))
    apart = name.endswith("apart")
    # The compiled code depends on the device that it will run on.
    on_gpu = mock.patch("jax.default_backend", return_value="gpu")
    with on_gpu, model.optimizer.without_update() if apart else contextlib.nullcontext():
        options = {"in_shardings": device, "out_shardings": device, "donate_argnums": 0}
        program = jax.jit(step, **options).lower(*shapes).compile().as_text()
    (found,) = dump.glob(f"*{step.__name__}.thunk_sequence_after_thunk_passes.txt")
    return found, program


def traffic(program):
    """Bytes that the kernels of a compiled program read and write, except in an update."""
    entry = program[program.index("ENTRY") :].split("\n}")[0]
    pattern = r"\s+(?:ROOT )?%?([\w.\-]+) = (.*?) ([\w\-]+)\((.*?)\)(?:,|$)"
    found = re.findall(pattern, entry, re.MULTILINE)
    sizes = {name: size(shape) for name, shape, _, _ in found}
    return sum(
        sizes[name] + sum(sizes.get(of, 0) for of in re.findall(r"%([\w.\-]+)", operands))
        for name, _, kind, operands in found
        if kind not in _FREE
    )


def size(shape):
    """Bytes of an array, or of a tuple of arrays, from the shape in XLA's notation."""
    return sum(
        _BYTES[kind] * math.prod(map(int, filter(None, sides.split(","))))
        for kind, sides in re.findall(r"(\w+)\[([\d,]*)\]", shape)
    )


def count(file):
    """Kernels and convolutions, kernels of an update, and the kind of conditional."""
    found, conditional, margin = collections.Counter(), "none", None
    for line in file.read_text().splitlines():
        match = re.match(r"( *)\d+: k(\w+)", line)
        if not match:
            continue
        indent, kind = len(match[1]), match[2]
        if margin is not None and indent <= margin:
            margin = None
        if kind == "Conditional":
            margin = indent
            conditional = "in a CUDA graph" if indent else "the host waits"
        elif kind not in ("CommandBuffer", "While"):
            where = "kernels" if margin is None else "update"
            found["convolutions" if kind == "Convolution" else where] += 1
    return [found["kernels"], found["convolutions"], found["update"] or "", conditional]


def main(_):
    batch = _BATCH.value or {"lenet_5": 100, "resnet_18": 32}[_MODEL.value]
    keras.config.set_dtype_policy(_POLICY.value)
    print(f"{_MODEL.value}, batch {batch}, {_POLICY.value}, for an H200; ", end="")
    print(f"keras {keras.__version__}, ", end="")
    print(f"jax {jax.__version__}, XLA_FLAGS={os.environ.get('XLA_FLAGS', '')}")
    print("| optimizer | kernels | convolutions | kernels of an update | conditional | GB |")
    print("|---" * 6 + "|")
    jax.config.update("jax_platforms", "cpu")
    with tempfile.TemporaryDirectory() as dump:
        # XLA reads this when it starts, which is now.
        ours = f"--xla_gpu_autotune_level=0 --xla_dump_hlo_as_text --xla_dump_to={dump} "
        os.environ["XLA_FLAGS"] = ours + os.environ.get("XLA_FLAGS", "")
        topology = described_gpu()
        mesh = jax.sharding.Mesh(topology.devices[:1], ("gpu",))
        device = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
        for name, make in OPTIMIZERS.items():
            if re.search(_ONLY.value, name):
                file, program = compile_step(name, make, batch, device, pathlib.Path(dump))
                columns = [*count(file), f"{traffic(program) / 1e9:.3f}"]
                print(f"| {name} | " + " | ".join(map(str, columns)) + " |", flush=True)


if __name__ == "__main__":
    app.run(main)
