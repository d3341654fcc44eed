"""Detect objects in images, folders, videos or a webcam, or on a local web page.

  stageinteractor predict --config-file output/demo/config.yaml photos --format images json
  stageinteractor predict --config-file output/demo/config.yaml clip.mp4
  stageinteractor predict --config-file output/demo/config.yaml webcam:0 --format video
  stageinteractor predict --config-file output/demo/config.yaml clip.mp4 --track
  stageinteractor predict --config-file output/demo/config.yaml aerial.tif --tiles 640
  stageinteractor predict --config-file output/demo/config.yaml --web
  stageinteractor predict --weights output/demo/export/model.onnx photos    # exported
  stageinteractor predict --config-file output/r50/config.yaml test2017 \
      --test-dev image_info_test-dev2017.json --algorithm stageinteractor_r50

Writes DIR/images, DIR/videos, DIR/detections.json (COCO's results format) and DIR/detections.csv.
Folders are searched with their subfolders. A file that cannot be used is reported and skipped; the
exit code is then 1. A webcam runs until Ctrl-C. Only files that this tool has written are
overwritten.
"""

from __future__ import annotations

import argparse
import sys
from os.path import expanduser
from pathlib import Path
from typing import TYPE_CHECKING

from ..choices import INFERENCE_PRECISIONS, RESULT_FORMATS
from ..command_line import add_path, add_trust_option, command, command_parser, sigterm_as_exit
from ..output_folder import OutputFolder

if TYPE_CHECKING:
    from ..prediction.tiles import TiledPredictor
    from ..predictor import Predictor

MIN_SCORE = 0.3  # of a checkpoint that has not been evaluated


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_parser(__doc__)
    parser.add_argument(
        "--config-file",
        type=expanduser,
        metavar="CONFIG",
        help=".py or .yaml, such as the config.yaml of a run; not with an ONNX file",
    )
    add_path(
        parser,
        "--weights",
        "FILE",
        "default: model_best.pth, or the last one, beside config.yaml; or an exported ONNX file, "
        "which needs no config",
    )
    parser.add_argument(
        "inputs",
        nargs="*",
        metavar="INPUT",
        help="images, folders, patterns in quotes, videos, webcam:0",
    )
    parser.add_argument("--output", type=expanduser, metavar="DIR", default="output/predictions")
    parser.add_argument(
        "--format",
        nargs="+",
        choices=RESULT_FORMATS,
        help="default: images to images, videos to video; 'images' given here draws frames, too",
    )
    parser.add_argument(
        "--min-score",
        type=float,
        metavar="SCORE",
        help=f"default: that of best F1 in the checkpoint's evaluation, else {MIN_SCORE}",
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1")
    parser.add_argument(
        "--precision",
        default="float32",
        choices=INFERENCE_PRECISIONS,
        help="default: float32; bf16 is faster where the processor has it, fp16 is for GPUs",
    )
    parser.add_argument(
        "--batch-size", type=int, default=1, metavar="N", help="images or tiles per forward pass"
    )
    parser.add_argument(
        "--tiles", type=int, metavar="PIXELS", help="detect in square tiles, for small objects"
    )
    parser.add_argument(
        "--tta",
        type=scales,
        metavar="SCALES",
        help="also detect in mirrored images and at these scales, such as 1 or 0.8,1,1.25",
    )
    parser.add_argument(
        "--track", action="store_true", help="number the objects of videos by ByteTrack"
    )
    add_path(
        parser,
        "--test-dev",
        "JSON",
        "detect in the images that this file lists, whose folder is INPUT, and write the results "
        "for COCO's server: detections_test-dev2017_NAME_results.json",
    )
    parser.add_argument(
        "--algorithm", metavar="NAME", default="stageinteractor", help="with --test-dev"
    )
    parser.add_argument("--web", action="store_true", help="serve a page to drop images on")
    parser.add_argument("--port", type=int, help="of the page; default: 8501 or the next free one")
    add_trust_option(parser)
    args = parser.parse_intermixed_args(argv)
    if is_onnx(args):
        torch_only = (args.precision != "float32", args.tta, args.device not in ("auto", "cpu"))
        if args.config_file or any(torch_only):
            parser.error("an ONNX file takes no --config-file, --precision or --tta, only the CPU")
    elif not args.config_file:
        parser.error("give --config-file, or --weights with an ONNX file")
    if args.web and (args.tiles is not None or args.track):
        parser.error("--tiles and --track are for inputs, not for --web")
    if bool(args.inputs) == args.web:
        parser.error("give inputs, or --web and no inputs")
    others = (args.web, args.format, args.track, args.min_score is not None)
    if args.test_dev and (any(others) or len(args.inputs) != 1):
        parser.error("--test-dev takes a folder, and no --web, --format, --track or --min-score")
    if args.batch_size < 1:
        parser.error("--batch-size must be at least 1")
    if args.min_score is not None and not 0 <= args.min_score <= 1:
        parser.error("--min-score must be from 0 to 1")
    if args.port is not None and not 0 < args.port < 2**16:
        parser.error("--port must be from 1 to 65535")
    return args


def is_onnx(args: argparse.Namespace) -> bool:
    """Return whether the weights are an exported file, which needs no config."""
    return args.weights is not None and Path(args.weights).suffix == ".onnx"


def scales(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


def load_predictor(args: argparse.Namespace) -> tuple[Predictor, float]:
    """Return the predictor, which keeps all detections, and the score threshold to apply."""
    from ..predictor import Predictor

    if is_onnx(args):
        predictor = Predictor.from_onnx(args.weights)
    else:
        predictor = Predictor.from_config(
            args.config_file,
            args.weights,
            args.device,
            trust_config=args.trust_config,
            precision=args.precision,
            tta=args.tta,
        )
    if args.min_score is not None:
        return predictor, args.min_score
    if predictor.min_scores is None:
        print(f"score threshold {MIN_SCORE}: the checkpoint was not evaluated")
        return predictor, MIN_SCORE
    score = predictor.min_scores.score
    print(f"score threshold {score:.3f}: best F1 of the checkpoint's evaluation")
    return predictor, score


def in_tiles(predictor: Predictor, args: argparse.Namespace) -> Predictor | TiledPredictor:
    """Return what detects in the tiles of an image if ``--tiles`` is given."""
    if args.tiles is None:
        return predictor
    from ..prediction.tiles import TiledPredictor

    return TiledPredictor(predictor, args.tiles, args.batch_size)


def run(args: argparse.Namespace) -> int:
    if args.web:
        from ..prediction.web import serve

        serve(*load_predictor(args), args.port)
        return 0
    if args.test_dev:
        return submit(args)
    from ..prediction import find_sources, predict_all
    from ..prediction.result_files import ResultFiles
    from ..prediction.tracking import Tracker

    sources = find_sources(args.inputs, args.output)
    inputs = list(filter(None, [args.config_file, args.weights]))
    files = ResultFiles(args.output, args.format, sources, inputs)
    predictor, min_score = load_predictor(args)
    predictor.min_score = min_score
    detector = in_tiles(predictor, args)
    track = Tracker(min_score) if args.track else None
    sinks = files.sinks(predictor.classes)
    with sigterm_as_exit():
        summary = predict_all(detector, sources, list(sinks.values()), args.batch_size, track)
    print(f"{summary.detections} detections in {summary.images} images")
    if summary.images and not summary.detections and min_score:
        print(f"no score reaches --min-score {min_score}: lower it to see weaker detections")
    written = [path for path in sinks if Path(path).exists()]
    print(f"written: {', '.join(written) or 'nothing'}")
    if summary.errors:
        print(f"error: {len(summary.errors)} inputs skipped, see above", file=sys.stderr)
    return 1 if summary.errors else 0


def submit(args: argparse.Namespace) -> int:
    """Write the detections that COCO's server takes; every score counts."""
    from ..prediction import predict_all
    from ..prediction.submission import read_submission

    (folder,) = args.inputs
    submission = read_submission(args.test_dev, expanduser(folder), args.algorithm)
    output = OutputFolder(args.output, [args.test_dev, *submission.images.paths])
    output.check([submission.file_name])
    args.min_score = 0.0
    predictor, _ = load_predictor(args)
    predictor.min_score = args.min_score
    submission.require_classes(predictor.classes)
    detector = in_tiles(predictor, args)
    path = output.path(submission.file_name)
    with sigterm_as_exit():
        sink = submission.sink(path, predictor.classes)
        summary = predict_all(detector, [submission.images], [sink], args.batch_size)
    print(f"written: {path}, {summary.images} images; zip it for COCO's server")
    return 1 if summary.errors else 0


@command
def main(argv: list[str] | None = None) -> int:
    return run(parse_args(argv))
