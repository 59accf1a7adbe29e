"""The process that profiles one file through LiteRT's C interface.

It is run by its path, like the worker: `profiler.py model.tflite threads runs`. It prints the
profiler's summary. LiteRT's wheel has the C interface, but no Python wrapper for the profiler. The
process is separate, because a changed C interface would cause a crash.
"""

import ctypes
import importlib.util
import os
import pathlib
import sys

CPU = 1
WARM_UP_RUNS = 5


def main():
    """Profiles the file `argv[1]` with `argv[2]` threads over `argv[3]` inferences."""
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the runtime's log
    output.write(profile(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
    output.close()


def profile(path, num_threads, runs):
    """The runtime's summary of `runs` inferences with zeros as inputs."""
    runtime = Runtime()
    environment = runtime.make("LiteRtCreateEnvironment", 0, None)
    model = runtime.make("LiteRtCreateModelFromFile", environment, path.encode())
    options = runtime.make("LiteRtCreateOptions")
    runtime.call("LiteRtSetOptionsHardwareAccelerators", options, CPU)
    runtime.add_option(options, b"runtime_options_string", b"enable_profiling = true\n")
    runtime.add_option(options, b"xnnpack", b"num_threads = %d\n" % num_threads)
    compiled = runtime.make("LiteRtCreateCompiledModel", environment, model, options)
    arguments = [compiled, ctypes.c_size_t(0)]
    for kind in ("Input", "Output"):
        buffers = runtime.buffers(kind, environment, model, compiled)
        arguments += [ctypes.c_size_t(len(buffers)), buffers]
    profiler = runtime.make("LiteRtCompiledModelGetProfiler", compiled)
    for _ in range(WARM_UP_RUNS):
        runtime.call("LiteRtRunCompiledModel", *arguments)
    runtime.call("LiteRtStartProfiler", profiler)
    for _ in range(runs):
        runtime.call("LiteRtRunCompiledModel", *arguments)
    runtime.call("LiteRtStopProfiler", profiler)
    summary = runtime.make("LiteRtGetProfileSummary", profiler, compiled)
    return ctypes.string_at(summary.value).decode()


class Runtime:
    """The C interface. Its objects are not freed, because the process ends."""

    def __init__(self):
        folder = pathlib.Path(importlib.util.find_spec("ai_edge_litert").origin).parent
        [path] = folder.glob("libLiteRt.*")
        self._library = ctypes.CDLL(str(path))
        self._c = ctypes.CDLL(None)
        self._c.strdup.restype = ctypes.c_void_p

    def call(self, name, *arguments):
        """Calls a function that returns a status."""
        status = getattr(self._library, name)(*arguments)
        if status:
            raise RuntimeError(f"{name} failed with status {status}")

    def make(self, name, *arguments):
        """Calls a function that writes a handle to its last argument; returns the handle."""
        handle = ctypes.c_void_p()
        self.call(name, *arguments, ctypes.byref(handle))
        return handle

    def add_option(self, options, name, text):
        """Adds an option as text, which the runtime frees."""
        copy = ctypes.c_void_p(self._c.strdup(text))
        free = ctypes.cast(self._c.free, ctypes.c_void_p)
        self.call(
            "LiteRtAddOpaqueOptions",
            options,
            self.make("LiteRtCreateOpaqueOptions", name, copy, free),
        )

    def buffers(self, kind, environment, model, compiled):
        """Zeroed buffers for the inputs or outputs of the first signature."""
        signature = self.make("LiteRtGetModelSignature", model, ctypes.c_size_t(0))
        count = ctypes.c_size_t()
        self.call(f"LiteRtGetNumSignature{kind}s", signature, ctypes.byref(count))
        buffers = (ctypes.c_void_p * count.value)()
        for index in map(ctypes.c_size_t, range(count.value)):
            tensor = self.make(f"LiteRtGetSignature{kind}TensorByIndex", signature, index)
            tensor_type = ctypes.create_string_buffer(256)  # larger than the structure
            self.call("LiteRtGetRankedTensorType", tensor, tensor_type)
            needs = self.make(
                f"LiteRtGetCompiledModel{kind}BufferRequirements",
                compiled,
                ctypes.c_size_t(0),
                index,
            )
            buffer = self.make(
                "LiteRtCreateManagedTensorBufferFromRequirements", environment, tensor_type, needs
            )
            self.call("LiteRtClearTensorBuffer", buffer)
            buffers[index.value] = buffer.value
        return buffers


if __name__ == "__main__":
    main()
