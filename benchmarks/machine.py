"""The machine of a measurement."""

import importlib.metadata
import os
import platform

import keras


def describe():
    """One line: processor, cores in use, backend, devices, versions, load."""
    backend = keras.backend.backend()
    packages = ["keras", "tensorflow" if backend == "tensorflow" else "jaxlib"]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    devices = ", ".join(_devices(backend)) or "cpu"
    return (
        f"{_processor()}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}; "
        f"{backend} on {devices}; {versions}"
    )


def _devices(backend):
    if backend == "jax":
        import jax

        return [f"{device.device_kind} ({device.platform})" for device in jax.local_devices()]
    return keras.distribution.list_devices()


def _processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
