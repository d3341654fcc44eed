"""Export a trained detector to ONNX or torch.export, and compare the file with the model.

  stageinteractor export --config-file output/demo/config.yaml --output output/demo/export

writes model.onnx, which takes images (batch, 3, height, width), RGB from 0 to 255, with their
sizes (batch, 2), and returns boxes, scores and labels; docs/examples/run_onnx.py runs it without
torch and detectron2.
Nothing is written if file and model differ by more than 1e-4 of the largest value.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from ..choices import EXPORT_FORMATS, ONNX_PRECISIONS, OPSET
from ..command_line import add_config_options, add_path, command, command_parser, take_config
from ..output_folder import OutputFolder

SIZES = [[480, 640], [333, 500]]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_parser(__doc__)
    add_config_options(parser)
    add_path(
        parser,
        "--weights",
        "FILE",
        "default: model_best.pth, or the last one, beside config.yaml",
    )
    add_path(parser, "--output", "DIR", "default: train.output_dir/export")
    parser.add_argument(
        "--format", nargs="+", choices=EXPORT_FORMATS, default=["onnx"], help="default: onnx"
    )
    parser.add_argument(
        "--opset",
        type=int,
        default=OPSET,
        metavar="N",
        help=f"of ONNX, 18 or newer; default: {OPSET}",
    )
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=ONNX_PRECISIONS,
        default=["float32"],
        help="of ONNX: also model_float16.onnx, model_int8.onnx; default: float32",
    )
    parser.add_argument(
        "--evaluate", action="store_true", help="AP of model and ONNX files on dataloader.test"
    )
    parser.add_argument(
        "--size",
        nargs=2,
        type=int,
        action="append",
        metavar=("H", "W"),
        help="image sizes of the comparison, given at least twice; default: 480 640 and 333 500",
    )
    args = parser.parse_intermixed_args(argv)
    if "onnx" not in args.format and (args.evaluate or args.precision != ["float32"]):
        parser.error("--evaluate and --precision are for ONNX files")
    return take_config(parser, args)


def run(args: argparse.Namespace) -> None:
    from detectron2.evaluation.testing import flatten_results_dict

    from ..engine.min_scores import min_scores_of_metrics
    from ..engine.run_folder import find_checkpoint, load_run_config
    from ..export import describe, export_detector
    from ..export.evaluation import ap_table, evaluate_detector
    from ..export.file_detector import FileDetector
    from ..export.formats import run_onnx
    from ..export.pipeline import FORMATS, check_export
    from ..export.precisions import file_of, write_precision
    from ..predictor import Predictor

    cfg = load_run_config(args.config_file, args.opts, trust=args.trust_config)
    weights = args.weights or find_checkpoint(cfg, args.config_file)
    output = OutputFolder(
        args.output or Path(cfg.train.output_dir) / "export", [args.config_file, weights]
    )
    names = [FORMATS[name][0] for name in args.format]
    lower = [precision for precision in args.precision if precision != "float32"]
    names += map(file_of, lower)
    output.check(names)
    predictor = Predictor.from_config(cfg, weights, "cpu")
    sizes = [(height, width) for height, width in args.size or SIZES]
    min_scores, results = predictor.min_scores, {}
    if args.evaluate:
        check_export(predictor.model, args.format, sizes, args.opset)  # before minutes
        results["model"] = evaluate_detector(predictor.config, predictor.model)
        min_scores = min_scores or min_scores_of_metrics(flatten_results_dict(results["model"]))
    elif min_scores is None:
        print(
            "no score threshold for the metadata: the checkpoint was not evaluated; for one, give "
            f"--evaluate, or first stageinteractor eval {args.config_file} "
            f"train.init_checkpoint={weights}"
        )
    try:
        written = export_detector(
            predictor.model,
            describe(predictor.config, predictor.model, min_scores),
            output.folder,
            args.format,
            sizes,
            partial(print, flush=True),
            args.opset,
        )
        full = output.folder / FORMATS["onnx"][0]
        written += [write_precision(full, precision) for precision in lower]
    finally:  # one of two formats may have been written
        for name in names:
            if (output.folder / name).exists():
                output.record(name)
    for path in written:
        print(f"written: {path} ({path.stat().st_size / 2**20:.1f} MiB)", flush=True)
    if args.evaluate:
        for path in (each for each in written if each.suffix == ".onnx"):
            results[path.name] = evaluate_detector(predictor.config, FileDetector(run_onnx(path)))
        print(ap_table(results))


@command
def main(argv: list[str] | None = None) -> int:
    run(parse_args(argv))
    return 0
