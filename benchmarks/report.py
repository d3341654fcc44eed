"""Results of a benchmark as tables and JSON, and the comparison with an older result."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from stageinteractor.errors import DataError
from stageinteractor.files import atomic_write_text

from .roofline import Rates
from .rows import INFERENCE, TRAINING, Row, sum_over_stages

Result = dict[str, Any]
MARKED = 3  # parts with the largest excess
TITLES = {
    INFERENCE: "inference (no gradients)",
    TRAINING: "training (forward and backward of each part; then the phases of a whole step)",
}
INDENTED = (
    "anchor generator",
    "relation block",
    "anchor losses",
    "attention",
    "sampling",
    "filter generation",
    "channel mixing",
    "static mixing",
    "spatial mixing",
    "output projection",
    "FFN",
    "heads",
)


def as_result(
    settings: Mapping[str, Any], machine: Mapping[str, str], rates: Rates, rows: Sequence[Row]
) -> Result:
    """Return everything as plain values; rows with stage None are sums over the stages."""
    single = [row.as_json() for row in rows if row.stage is not None]
    return {
        "settings": dict(settings),
        "machine": dict(machine),
        "rates": {"gflop_per_s": rates.flops / 1e9, "gb_per_s": rates.bytes / 1e9},
        "rows": [row.as_json() for row in sum_over_stages(rows)],
        "stages": single,
    }


def write_result(result: Result, path: str | Path) -> None:
    """Write a result as JSON."""
    atomic_write_text(path, json.dumps(result, indent=1) + "\n")


def read_result(path: str | Path, settings: Mapping[str, Any]) -> Result:
    """Read a result to compare with.

    Args:
        path: what `write_result` wrote.
        settings: those of the new result.

    Raises:
        DataError: no such file, not a result, or one of other settings.
    """
    try:
        result = json.loads(Path(path).read_text(encoding="utf-8"))
        old, _ = result["settings"], [row["median_ms"] for row in result["rows"]]
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; python -m benchmarks --json writes one") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a result of python -m benchmarks --json ({error})") from error
    other = [
        f"{name} {old.get(name)} instead of {value}"
        for name, value in settings.items()
        if old.get(name) != value
    ]
    if other:
        raise DataError(f"{path} cannot be compared, it has other settings: {'; '.join(other)}")
    return result


def differing_machine(old: Result, new: Result) -> str:
    """Return a warning if machine, torch or its products differ, else an empty text."""
    parts = [
        f"{name} was {old['machine'].get(name)}, is {new['machine'].get(name)}"
        for name in ("machine", "torch", "float32 matmul precision")
        if old["machine"].get(name) != new["machine"].get(name)
    ]
    return f"warning: {'; '.join(parts)}" if parts else ""


def tables(result: Result, old: Result | None = None) -> str:
    """Return both tables, what was run above them, and the stages below them.

    Args:
        result: see `as_result`.
        old: another one of the same settings: its medians are shown, and by how much ours are
            faster.
    """
    rates = result["rates"]
    parts = [
        ", ".join(f"{name} {_plain(value)}" for name, value in result["settings"].items()),
        f"on {result['machine']['machine']}, torch {result['machine']['torch']}: "
        f"{rates['gflop_per_s']:.0f} GFLOP/s in products, {rates['gb_per_s']:.1f} GB/s copied",
        "median of the runs and interquartile range; bound: FLOPs or minimum bytes at these rates "
        "(data in the caches can be faster); excess: median - bound, the largest are marked",
    ]
    for mode, title in TITLES.items():
        rows = [row for row in result["rows"] if row["mode"] == mode]
        parts.append(f"\n{title}\n{_table(rows, _medians(old, mode))}{_removal_share(rows)}")
    for mode in TITLES:
        rows = [row for row in result["stages"] if row["mode"] == mode]
        if rows:
            parts.append(f"\n{mode}: median ms by decoder stage\n{_stages(rows)}")
    return "\n".join(parts)


def _removal_share(rows: Sequence[dict[str, Any]]) -> str:
    """Return a line with the cost of duplicate removal, if the model has it."""
    times = {row["name"]: row["median_ms"] for row in rows}
    parts = [part for part in ("duplicate removal", "its loss") if part in times]
    if not parts:
        return ""
    share = 100 * sum(times[part] for part in parts) / times["decoder"]
    return f"\n{' and '.join(parts)}: {share:.1f} % of the decoder"


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return "x".join(str(each) for each in value) or "none"
    return str(value)


def _medians(old: Result | None, mode: str) -> dict[str, float] | None:
    if old is None:
        return None
    return {row["name"]: row["median_ms"] for row in old["rows"] if row["mode"] == mode}


def _table(rows: Sequence[dict[str, Any]], old: Mapping[str, float] | None) -> str:
    headers = ["part", "calls", "ms", "+-", "bound", "x bound", "excess", "", "peak MiB"]
    headers += [] if old is None else ["was ms", "was / now"]
    excesses = {row["name"]: row["median_ms"] - row["bound_ms"] for row in rows if row["ranked"]}
    ranked = sorted(excesses, key=lambda name: -excesses[name])[:MARKED]
    lines = []
    for row in rows:
        name, median = row["name"], row["median_ms"]
        mark = f"<- {ranked.index(name) + 1}" if name in ranked else ""
        times = row["times_bound"]
        lines.append(
            [
                f"  {name}" if name in INDENTED else name,
                row["calls"],
                _ms(median),
                _ms(row["spread_ms"]),
                _ms(row["bound_ms"]),
                "-" if times is None else ">999" if times > 999 else f"{times:.1f}",
                _ms(median - row["bound_ms"]),
                mark,
                f"{row['peak_mib']:.0f}" if row["peak_mib"] >= 10 else f"{row['peak_mib']:.1f}",
            ]
        )
        if old is not None:
            before = old.get(name)
            lines[-1] += ["-", "-"] if before is None else [_ms(before), f"{before / median:.2f}"]
    return _aligned(lines, headers)


def _stages(rows: Sequence[dict[str, Any]]) -> str:
    stages = sorted({row["stage"] for row in rows})
    by_name: dict[str, dict[int, float]] = {}
    for row in rows:
        by_name.setdefault(row["name"], {})[row["stage"]] = row["median_ms"]
    lines = [
        [name, *(_ms(values[s]) if s in values else "" for s in stages)]
        for name, values in by_name.items()
    ]
    total = [sum(values.get(stage, 0.0) for values in by_name.values()) for stage in stages]
    return _aligned([*lines, ["sum", *map(_ms, total)]], ["part", *map(str, stages)])


def _ms(value: float) -> str:
    if abs(value) < 0.0005:
        return "0"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _aligned(lines: Sequence[Sequence[Any]], headers: Sequence[str]) -> str:
    align = ["left"] + ["right"] * (len(headers) - 1)
    return tabulate(
        lines, headers=headers, colalign=align, disable_numparse=True, preserve_whitespace=True
    )


def scaling_table(curves: Sequence[Mapping[str, Any]]) -> str:
    """Return a table of the straight lines of `scaling.measure_scaling`."""
    lines = [
        [
            f"{curve['part']} over {curve['axis']}",
            f"{curve['values'][0]} to {curve['values'][-1]}",
            f"{_ms(curve['ms'][0])} to {_ms(curve['ms'][-1])}",
            f"{curve['r2']:.4f}",
            f"{curve['deviation']:.0%}",
        ]
        for curve in curves
    ]
    headers = ["forward and backward", "range", "ms", "R² of a line", "largest deviation"]
    return _aligned(lines, headers)


def ratio_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a table of what `ratios.ratio_rows` measured, as mappings."""
    lines = [
        [
            row["name"],
            f"{_ms(row['reference'])} {row['unit']}",
            f"{_ms(row['ours'])} {row['unit']}",
            f"{row['ratio']:.2f}",
            f"{row['target']:.2f}",
        ]
        for row in rows
    ]
    return _aligned(
        lines, ["against the reference implementation", "reference", "ours", "ratio", "target"]
    )


def anchor_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a table of what `anchors.anchor_rows` measured, as mappings."""
    lines = [
        [
            row["name"],
            row["queries"],
            *(row["crops"] or ("", "")),
            _ms(row["milliseconds"]),
            f"{row['decoders']:.3f}",
        ]
        for row in rows
    ]
    headers = ["queries of one image", "queries", "of P4", "of P3", "ms", "x decoder"]
    return _aligned(lines, headers)
