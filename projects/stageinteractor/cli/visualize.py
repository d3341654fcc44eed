"""Analyse the errors of runs: errors by type, curves, and t-SNE of the queries.

  stageinteractor visualize output/demo
  stageinteractor visualize output/demo --embedding 100     # also t-SNE of 100 images' queries
  stageinteractor visualize output/full output/no_reuse     # both runs in one figure
  stageinteractor visualize --json val.json --images photos --results results.json --output DIR

The first writes into output/demo/results: errors_TYPE.jpg for each of TIDE's error types, with
ground truth beside detections of the worst images; errors.json, the counts; precision_recall.png,
ap_per_class.png, confusion.png, score_thresholds.png (precision, recall and F1 by score); and
convergence.png, AP and loss over the training (and over the previous training in this folder).
For several runs only convergence.png is written. The last takes the detections of any detector in
COCO's results format. Files of the user are not replaced.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..command_line import add_path, add_trust_option, command, command_parser, show
from ..errors import DataError
from ..output_folder import OutputFolder


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = command_parser(__doc__)
    parser.add_argument("run", nargs="*", help="folder of a run, or a metrics file to compare with")
    add_path(parser, "--json", "FILE", "annotations, in place of a run")
    add_path(parser, "--images", "DIR", "folder of the annotated images")
    add_path(parser, "--results", "FILE", "detections in COCO's results format")
    add_path(parser, "--output", "DIR", "default: RUN/results, output/comparison")
    parser.add_argument("--min-score", type=float, default=0.3, metavar="S", help="default: 0.3")
    parser.add_argument("--count", type=int, default=12, help="images on a sheet (default: 12)")
    parser.add_argument("--embedding", type=int, metavar="N", help="t-SNE of the first N images")
    add_trust_option(parser)
    args = parser.parse_args(argv)
    files = [args.json, args.images, args.results]
    if args.run and any(files):
        parser.error("give a run, or --json, --images and --results, not both")
    if not args.run and not all([*files, args.output]):
        parser.error("give a run, or all of --json, --images, --results and --output")
    if args.embedding is not None and len(args.run) != 1:
        parser.error("--embedding takes one run")
    if args.count < 1 or (args.embedding is not None and args.embedding < 1):
        parser.error("--count and --embedding must be at least 1")
    return args


def run(args: argparse.Namespace) -> None:
    """Write the figures for the arguments, and print the table."""
    from ..visualization.convergence import plot_convergence, read_runs
    from ..visualization.error_analysis import read_detections, write_results

    if len(args.run) > 1:
        path = OutputFolder(args.output or "output/comparison").path("convergence.png")
        plot_convergence(read_runs(args.run), path)
        print(f"written: {path}")
        return
    if not args.run:
        output = Path(args.output)
        detections = read_detections(args.json, args.images, args.results)
        show(write_results(detections, output, args.min_score, args.count))
    else:
        folder = Path(args.run[0])
        output = Path(args.output or folder / "results")
        show_run(folder, output, args)
    print(f"\nwritten: figures and errors.json in {output}")


def show_run(run: Path, output: Path, args: argparse.Namespace) -> None:
    """Write the figures of one run, as far as it has metrics and detections."""
    from ..visualization.convergence import plot_convergence, read_runs
    from ..visualization.error_analysis import RESULTS_FILE, read_run, write_results

    has_metrics, has_results = (run / "metrics.json").is_file(), (run / RESULTS_FILE).is_file()
    if not has_metrics and not has_results:
        raise DataError(f"{run}: no metrics.json and no {RESULTS_FILE}; is it the folder of a run?")
    if has_metrics:
        before = run / "metrics.previous.json"
        runs = [run, before] if before.is_file() else [run]
        plot_convergence(read_runs(runs), OutputFolder(output).path("convergence.png"))
    if has_results:
        show(write_results(read_run(run), output, args.min_score, args.count))
    else:
        print(f"{run} has not been evaluated yet: there is no {RESULTS_FILE}")
    if args.embedding is not None:
        show_embedding(run, output, args)


def show_embedding(run: Path, output: Path, args: argparse.Namespace) -> None:
    """Write embedding.png with the weights of a run."""
    from tqdm import tqdm

    from ..config import load_config
    from ..data.annotated import annotated_inputs
    from ..engine.build import build_trained_model
    from ..engine.setup import find_device
    from ..visualization.embedding import collect_content, embed, plot_embedding

    path = OutputFolder(output).path("embedding.png")
    cfg = load_config(run / "config.yaml", trust=args.trust_config)
    cfg.train.output_dir = str(run)  # it may have been moved
    cfg.train.device = find_device("auto")
    inputs = annotated_inputs(cfg, "val", args.embedding)
    model = build_trained_model(cfg)
    queries = collect_content(model, tqdm(inputs, unit="image"), args.min_score)
    points = [embed(content) for content in tqdm(queries.content, unit="stage", desc="t-SNE")]
    plot_embedding(points, queries, cfg.dataset.class_names, path)


@command
def main(argv: list[str] | None = None) -> int:
    run(parse_args(argv))
    return 0
