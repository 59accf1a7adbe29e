"""The child process of `export.micro`: runs one file under LiteRT for Microcontrollers.

It is run by its path, and imports only NumPy and the runtime. The runtime ends the process on an
error. Questions and answers are one JSON object per line: first an answer without a question, then
one answer, or `{"error": ...}`, to each question until its input ends. Output of the runtime goes
to stderr.

Questions: `{"arena": bytes}` loads the file. With `"inputs"` and `"outputs"`, two `.npz` files, it
also runs each sample, and saves the first `"count"` outputs or the `"tensors"` with these indices.
"""

import json
import os
import sys

import numpy as np
from tflite_micro.python.tflite_micro import runtime


def main():
    """Answers questions about the file `argv[1]`."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    with open(sys.argv[1], "rb") as file:
        content = file.read()
    answers.write("{}\n")
    for line in sys.stdin:
        try:
            answer = run(content, **json.loads(line))
        except (ValueError, RuntimeError, MemoryError) as error:
            answer = {"error": str(error)}
        answers.write(json.dumps(answer) + "\n")


def run(content, arena, inputs=None, outputs=None, count=0, tensors=None):
    """Loads a file, runs it on samples, and prints the used part of the arena on stderr."""
    config = runtime.InterpreterConfig
    interpreter = runtime.Interpreter.from_bytes(
        content,
        arena_size=arena,
        intrepreter_config=config.kAllocationRecording
        if tensors is None
        else config.kPreserveAllTensors,
    )
    if inputs is None:
        return {}
    with np.load(inputs) as file:
        samples = [file[f"arr_{i}"] for i in range(len(file.files))]
    found = [results(interpreter, each, count, tensors) for each in zip(*samples, strict=True)]
    np.savez(outputs, *(np.stack(each) for each in zip(*found, strict=True)))
    if tensors is None:
        interpreter.print_allocations()
    return {}


def results(interpreter, sample, count, tensors):
    """The first outputs, or the tensors with these indices, for one sample."""
    for index, value in enumerate(sample):
        interpreter.set_input(value, index)
    interpreter.invoke()
    if tensors is None:
        return [np.array(interpreter.get_output(index)) for index in range(count)]
    return [np.array(interpreter.GetTensor(index, 0)["tensor_data"]) for index in tensors]


if __name__ == "__main__":
    main()
