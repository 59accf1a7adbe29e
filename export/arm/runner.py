"""The process that runs one file: `runner.py model.tflite inputs.npz outputs.npz`.

It is run by its path, on the host and under the emulator, and needs only NumPy and LiteRT.
"""

import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def main():
    """Writes the outputs for each sample of the inputs."""
    interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
    interpreter.allocate_tensors()
    samples = np.load(sys.argv[2])
    details = interpreter.get_input_details()
    results = []
    for index in range(len(samples["0"])):
        for position, detail in enumerate(details):
            interpreter.set_tensor(detail["index"], samples[str(position)][index])
        interpreter.invoke()
        outputs = interpreter.get_output_details()
        results.append([interpreter.get_tensor(output["index"]) for output in outputs])
    columns = zip(*results, strict=True)
    np.savez(sys.argv[3], **{str(i): np.stack(column) for i, column in enumerate(columns)})


if __name__ == "__main__":
    main()
