"""Make the model of a file smaller.

python -m apps.compress --model=m.keras --data=d.npz --target=macs=0.5 --epochs=30 --out=runs/half
python -m apps.compress --model=m.keras --data=d.npz --target=latency=0.5 --plan_only --out=plan
python -m apps.compress --model=m.keras --out=small.keras --quantize=int8 --representative=x.npz

Without --target its dead channels are cut out, and its outputs stay as they are. With --target it
loses channels until it meets a budget, and is trained until its accuracy comes back.
"""

import functools
import json
import math
import os
import pathlib

import numpy as np
from absl import flags

from apps import program
from apps.compression import options
from export import command_line

GROUP_NAMES = ("files", options.GROUP, "surgery", "TFLite")
_CALIBRATED_SAMPLES = 200


def define_flags():
    """Defines the flags; not on import, because other programs share some names."""
    string = functools.partial(flags.DEFINE_string, default=None, module_name="files")
    string("model", help="The model: a .keras or .h5 file, of Keras 3 or Keras 2.")
    string("out", help="The compact model: a .keras or .h5 file; a folder with --target.")
    string("import", help="A Python module with the model's own layers and losses.")
    string("report_json", help="File for the report, layer by layer.")
    options.define()
    flags.DEFINE_float(
        "threshold",
        None,
        "Before surgery set channels to zero whose weights have a 2-norm of at most this. It "
        "changes the model's outputs; without it they stay.",
        module_name="surgery",
    )
    flags.DEFINE_integer(
        "channel_multiple",
        None,
        "Leave as many removable channels as make each width a multiple of this; some "
        "accelerators want 8 or 16.",
        upper_bound=command_line.LARGEST_INTEGER,
        module_name="surgery",
    )
    flags.DEFINE_list(
        "quantize",
        [],
        "Write TFLite files beside --out: OUT.tflite, and OUT-KIND.tflite for kinds of float16, "
        "dynamic and int8, separated by commas; the report compares them with the original's. "
        "With --target those of both models are in the folder.",
        module_name="TFLite",
    )
    flags.DEFINE_string(
        "representative",
        None,
        "Real samples to calibrate int8 and to compare the files on, a .npy file, or a .npz file "
        "with an array for each input by its name (x for a single one) and, if there are any, "
        "integer labels y.",
        module_name="TFLite",
    )


def main(values=flags.FLAGS):
    """Meet a budget, or remove dead channels."""
    if values.target:
        options.check(values)
        with command_line.quiet_import():
            from apps.compression import run

        run.main(values)
    else:
        options.refuse_without_target(values)
        _cut(values)


def goes_on(values=flags.FLAGS):
    """A sentence on how to continue a compression to a budget that was stopped."""
    if not values.is_parsed() or not values.target:
        return ""
    return "The same command continues after the last epoch that was finished."


def _cut(values):
    """Check the flags' values, load, zero, remove channels, write and report."""
    _check(values)
    # Importing Keras takes seconds, and --help need not wait for it.
    with command_line.quiet_import():
        from export.custom_objects import register_objects
        from keras_sparse import surgery
        from keras_sparse.loading import load_model

    zeroed = None
    try:
        register_objects(getattr(values, "import"))
        original = model = load_model(values.model)
        samples = _samples(model, values)
        if values.threshold is not None:
            model, zeroed = surgery.zero_channels(model, values.threshold)
            _check_alive(original, model, values.threshold)
        compact, report = surgery.remove_dead_channels(
            model, channel_multiple=values.channel_multiple
        )
        files = _write(original, compact, report, zeroed, values, samples)
    except (ValueError, RuntimeError, OSError) as error:
        raise program.UsageError(str(error)) from error
    _print(report, zeroed)
    if files:
        from export.quantize import variants

        variants.show(files)
    if not report.channels or all(before == after for before, after in report.channels.values()):
        print(
            "No channel was dead: the model is as large as before. Train it with a method that "
            'makes whole channels zero, such as RDA(groups="channel"), or give --threshold to '
            "set those with small weights to zero."
        )
    print(f"Wrote {values.out}")


def _check(values):
    for name in ("model", "out"):
        if not getattr(values, name):
            raise program.UsageError(f"--{name} is needed: the name of a .keras or .h5 file.")
    if values.out.endswith(".tflite"):
        raise program.UsageError(
            f"--out={values.out}: write a .keras file here, then convert it with `python -m "
            "export.convert MODEL.keras MODEL.tflite`."
        )
    if not values.out.endswith((".keras", ".h5")):
        raise program.UsageError(f"--out must end in .keras or .h5. Received: {values.out!r}")
    files = {
        name: os.path.realpath(getattr(values, name))
        for name in ("model", "representative", "out", "report_json")
        if getattr(values, name)
    }
    if len(set(files.values())) < len(files):
        names = [f"--{name}" for name in files]
        raise program.UsageError(
            f"{', '.join(names[:-1])} and {names[-1]} must be different files."
        )
    for path in (files[name] for name in ("out", "report_json") if name in files):
        if os.path.isdir(path) or not os.access(os.path.dirname(path), os.W_OK):
            raise program.UsageError(
                f"{path} cannot be written: name a file in a folder that exists and may be written."
            )
    if values.threshold is not None and not 0 <= values.threshold < math.inf:
        raise program.UsageError(
            f"--threshold must be 0 or more, and finite. Received: {values.threshold}"
        )
    if values.channel_multiple is not None and values.channel_multiple < 1:
        raise program.UsageError(
            f"--channel_multiple must be 1 or more. Received: {values.channel_multiple}"
        )
    if not os.path.exists(values.model):
        raise program.UsageError(f"There is no such file. Received: path={values.model}")
    try:
        command_line.check_model(values.model)
    except ValueError as error:
        raise program.UsageError(str(error)) from error
    _check_quantize(values)


def _check_quantize(values):
    if not values.quantize:
        if values.representative:
            raise program.UsageError("--representative is for --quantize: give both.")
        return
    from export.quantize import variants

    try:
        kinds = variants.checked_kinds(values.quantize)
    except ValueError as error:
        raise program.UsageError(f"--{error}") from error
    if "int8" in kinds and not values.representative:
        raise program.UsageError(
            "--quantize=int8 needs --representative: a file with 100 to 200 real samples."
        )
    if values.representative and not os.path.isfile(values.representative):
        raise program.UsageError(
            f"{values.representative} cannot be read as arrays: there is no such file."
        )


def _samples(model, values):
    """(samples, labels), both None without --representative."""
    if not values.representative:
        return None, None
    from export.inputs import input_specs, read_samples

    samples, labels = read_samples(values.representative, input_specs(model))
    return samples, command_line.classes_or_none(labels, model, values.representative)


def _check_alive(original, zeroed, threshold):
    """A UsageError if the outputs no longer depend on the inputs above the threshold."""
    if _varies(original) and not _varies(zeroed):
        raise program.UsageError(
            f"--threshold={threshold:g} sets so many channels to zero that the outputs are the "
            "same for all inputs. Give a smaller one; nothing was written."
        )


def _varies(model):
    """True if the outputs on random inputs differ."""
    import keras

    from keras_sparse.surgery.verify import random_inputs

    outputs = keras.tree.flatten(model(random_inputs(model), training=False))
    return any(np.any(array != array[:1]) for array in map(keras.ops.convert_to_numpy, outputs))


def _files(original, compact, values, samples, folder):
    """Rows on the TFLite files of both models; the files of the compact one stay in the folder."""
    if not values.quantize:
        return []
    import keras

    from export.benchmark import benchmark
    from export.quantize import variants
    from export.samples import spread

    samples, labels = samples
    representative = None
    if samples is not None:
        chosen = spread(len(keras.tree.flatten(samples)[0]), _CALIBRATED_SAMPLES)
        representative = keras.tree.map_structure(lambda array: array[chosen], samples)
    name = pathlib.Path(values.out).stem
    found = variants.write_variants(
        {f"{name}-original": original, name: compact},
        folder,
        variants.checked_kinds(values.quantize),
        samples=samples,
        labels=labels,
        representative=representative,
    )
    rows = variants.rows(found, benchmark(variants.paths(found)))
    for path in variants.paths(found):
        if not path.name.startswith(f"{name}-original"):
            os.replace(path, pathlib.Path(values.out).parent / path.name)
    return rows


def _write(original, compact, report, zeroed, values, samples):
    """Writes all files or none; returns rows on the TFLite files."""
    import keras

    from keras_sparse.files import replacing

    facts = {
        **report.to_dict(),
        "zero_channels": zeroed and zeroed.to_dict(),
        "command": program.command_line("apps.compress"),
    }
    with replacing(values.out) as temporary:
        compact.save(temporary)
        try:
            keras.saving.load_model(temporary, compile=False)
        except (ValueError, TypeError) as error:
            # Keras writes `keras.ops` into HDF5 files, but cannot read them.
            raise program.UsageError(
                f"Keras could not read {values.out} again: {str(error)[:100]}... Write a .keras "
                "file, which holds every model."
            ) from error
        facts["files"] = _files(original, compact, values, samples, temporary.parent)
        if values.report_json:
            with replacing(values.report_json) as text:
                text.write_text(json.dumps(facts, indent=1))
    return facts["files"]


def _print(report, zeroed):
    if zeroed is not None:
        count = sum(len(indices) for indices in zeroed.zeroed.values())
        print(
            f"Set {count} channels to zero, the largest of norm {zeroed.largest:.2g}; the outputs "
            f"moved by {zeroed.max_error:.2g} of their scale on random input.\n"
        )
    print(report)
    for name in ("parameters", "macs"):
        before, after = getattr(report, name)
        print(f"{name}: {before:,} to {after:,}, {after / max(before, 1):.1%}")
    print(
        f"Largest difference of the outputs on random input: {report.max_error:.2g} of their scale."
    )


if __name__ == "__main__":
    define_flags()
    program.run(main, __doc__, GROUP_NAMES, goes_on)
