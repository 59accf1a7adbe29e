"""The environment of a process with two devices."""

import os

ON_JAX = {
    "KERAS_BACKEND": "jax",
    "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=2",
}
