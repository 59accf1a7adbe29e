"""The same networks in several kinds of quantization, measured side by side."""

import dataclasses
import pathlib

import rich
from rich.markup import escape

from export.convert import convert
from export.errors import ExportError
from export.kinds import NAMES, kind_of
from export.shown import figures_table
from export.verification import Verification

_COLUMNS = (
    ("file", "file", "{}"),
    ("bytes", "bytes", "{:,}"),
    ("gzip", "gzip_bytes", "{:,}"),
    ("largest error", "max_abs_error", "{:.1e}"),
    ("agreement", "agreement", "{:.2%}"),
    ("accuracy", "accuracy", "{:.4f}"),
    ("fastest ms", "latency_ms_min", "{:#.3g}"),
    ("MACs ratio", "macs_ratio", "{:.3f}"),
    ("latency ratio", "latency_ratio", "{:.3f}"),
)
# Columns that are only in reports, because all columns do not fit into 80 characters.
_IN_REPORTS_ONLY = ("gzip", "MACs ratio")


@dataclasses.dataclass(frozen=True)
class Variant:
    """One network in one kind of quantization.

    Args:
        network: the network's name.
        quantize: None for float32, `"float16"`, `"dynamic"` or `"int8"`.
        verification: the result of `convert`; None if it failed.
        error: the reason why there is no file, or None.
    """

    network: str
    quantize: str | None
    verification: Verification | None
    error: str | None = None


def checked_kinds(kinds):
    """Kinds of quantization as a tuple without repetitions, or a ValueError."""
    unknown = [kind for kind in kinds if kind not in NAMES]
    if unknown:
        raise ValueError(
            f"quantize must name any of {', '.join(NAMES)}. Received: {', '.join(unknown)}"
        )
    return tuple(dict.fromkeys(kinds))


def write_variants(
    networks, folder, kinds, *, samples=None, labels=None, representative=None, tolerance=None
):
    """Converts networks to float32 and to each kind, as `NAME.tflite` and `NAME-KIND.tflite`.

    If a kind fails, its error is recorded, and the others continue.

    Args:
        networks: dict from a name to a `keras.Model`.
        folder: where to write.
        kinds: any of `"float16"`, `"dynamic"` and `"int8"`.
        samples, labels, representative: as `convert` takes them.
        tolerance: an `export.verify.Tolerance` for the quantized files; None for the kind's
            default.

    Returns:
        A list of `Variant`, the float32 one of each network first.

    Raises:
        ExportError: a network that cannot be converted to float32.
    """
    found = []
    for kind in (None, *kinds):
        for name, model in networks.items():
            path = pathlib.Path(folder) / f"{name}{f'-{kind}' if kind else ''}.tflite"
            calibration = representative if kind_of(kind).calibrated else None
            try:
                file = convert(
                    model,
                    path,
                    quantize=kind,
                    representative=calibration,
                    samples=samples,
                    labels=labels,
                    tolerance=tolerance if kind else None,
                )
                found.append(Variant(name, kind, file))
            except ExportError as error:
                if kind is None:
                    raise
                found.append(Variant(name, kind, None, str(error)))
    return found


def paths(variants):
    """The paths of the files, for `benchmark`."""
    return [variant.verification.path for variant in variants if variant.verification]


def rows(variants, timing):
    """One dict of plain values for each variant; ratios are to the first file.

    Args:
        variants: the result of `write_variants`.
        timing: `benchmark(paths(variants))`.
    """
    figures = iter(zip(timing.files, timing.ratios, timing.macs_ratios, strict=True))
    return [
        {
            "network": variant.network,
            "quantize": variant.quantize or "float32",
            **(_measured(variant.verification, *next(figures)) if variant.verification else {}),
            **({"error": variant.error} if variant.error else {}),
        }
        for variant in variants
    ]


def _measured(file, timing, latency_ratio, macs_ratio):
    return {
        "file": file.path.name,
        "bytes": file.bytes,
        "gzip_bytes": timing.gzip_bytes,
        "samples": file.samples,
        "max_abs_error": file.max_abs_error,
        "max_relative_error": file.max_relative_error,
        "agreement": file.agreement,
        "accuracy": file.accuracy,
        "keras_accuracy": file.keras_accuracy,
        "macs_ratio": macs_ratio,
        "latency_ms_median": timing.median_ms,
        "latency_ms_min": timing.min_ms,
        "latency_ratio": latency_ratio,
    }


def table(rows):
    """Header and rows of text; unknown values are `-`."""
    header = [label for label, _, _ in _COLUMNS]
    return header, [
        [
            pattern.format(row[key]) if row.get(key) is not None else "-"
            for _, key, pattern in _COLUMNS
        ]
        for row in rows
        if "error" not in row
    ]


def markdown(rows):
    """The rows as lines of a Markdown table, with failures below it."""
    header, body = table(rows)
    return [
        f"| {' | '.join(header)} |",
        f"| --- {'| ---: ' * (len(header) - 1)}|",
        *(f"| {' | '.join(row)} |" for row in body),
        *(
            line
            for row in rows
            if "error" in row
            for line in ("", f"No {row['quantize']} file of {row['network']}: {row['error']}")
        ),
    ]


def show(rows):
    """Prints the rows to the terminal, within 80 columns."""
    header, body = table(rows)
    shown = [column for column, name in enumerate(header) if name not in _IN_REPORTS_ONLY]
    head, *body = ([row[column] for column in shown] for row in (header, *body))
    rich.print(figures_table(head, body, title="Files, beside their networks in Keras", box=None))
    for row in rows:
        if "error" in row:
            rich.print(escape(f"No {row['quantize']} file of {row['network']}: {row['error']}"))
