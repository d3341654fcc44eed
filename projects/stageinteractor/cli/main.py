# PYTHON_ARGCOMPLETE_OK
"""StageInteractor: train, evaluate and use query-based object detectors.

  stageinteractor train digits_in_photos            # a config of the zoo, or a file
  stageinteractor predict --config-file output/demo/config.yaml photos
  stageinteractor COMMAND --help

A command is imported when it is called, and it imports torch and detectron2 when its arguments are
right: the list of commands and their help take no seconds.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys

from .. import __version__
from ..packages import install_extra, requirements

COMMANDS = {
    "train": "train a detector, or evaluate one with --eval-only",
    "eval": "evaluate a trained detector",
    "predict": "detect objects in images, folders and videos, or serve a web page",
    "check": "check, repair and convert a data set",
    "datasets": "make a data set of the demo configs",
    "shards": "write a data set into tar shards, or index shards",
    "weights": "write ImageNet weights of a backbone to a file",
    "convert": "convert checkpoints from and to the published code",
    "export": "export a detector to ONNX or torch.export",
    "report": "table of AP, training curves and predictions of runs",
    "visualize": "error analysis and plots of runs",
    "visualize-assignment": "draw which query is matched to which ground-truth box at every stage",
    "worst-images": "list the images with the largest losses, for wrong labels",
    "unstable-score": "measure how many ground-truth boxes change their query between stages",
    "analyze": "parameters, GFLOPs and memory of a model",
    "configs": "list the configs of the zoo",
    "ablate": "train and compare the rows of an ablation table",
    "sweep": "search for settings by short trainings, pruned by their AP",
    "replay": "repeat the step that stopped a training with a non-finite loss",
    "targets": "list what a YAML config would call",
    "submit": "train on a SLURM cluster",
    "ray-train": "train under Ray Train, on one machine or a Ray cluster",
    "install-detectron2": "install detectron2, which is not on PyPI under its own name",
}
ALIASES = {"eval": "train"}  # the module of a command, where its name is another


def main(argv: list[str] | None = None) -> int:
    """Run a command; return its exit code.

    Args:
        argv: name of the command and its arguments; by default those of the process.
    """
    parser = _parser()
    if "_ARGCOMPLETE" in os.environ:
        _complete(parser)
    arguments = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(arguments[:1])
    if args.command is None:
        parser.print_help()
        return 0
    name, rest = args.command, arguments[1:]
    sys.argv = [f"stageinteractor {name}", *rest]  # what usage lines and errors begin with
    if name == "eval":
        sys.argv.insert(1, "--eval-only")
    try:
        code: int = importlib.import_module(f"..{_module(name)}", __name__).main()
    except ModuleNotFoundError as error:
        print(f"error: {_missing(error)}", file=sys.stderr)
        return 2
    return code


def _missing(error: ModuleNotFoundError) -> str:
    """Return what to install; the core of the package has few dependencies."""
    package = (error.name or "").partition(".")[0]
    if package == "detectron2":
        return "this command needs detectron2: run `stageinteractor install-detectron2`"
    known = requirements("train")
    is_known = not known or any(name.replace("pillow", "PIL").startswith(package) for name in known)
    if package in ("", "stageinteractor") or not is_known:
        raise error
    return f"this command needs {package}: {install_extra('train')}"


def _module(name: str) -> str:
    return ALIASES.get(name, name).replace("-", "_")


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {text}" for name, text in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="stageinteractor",
        usage="stageinteractor COMMAND ...",
        description=f"{__doc__.split('A command is')[0]}commands:\n{commands}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"stageinteractor {__version__}")
    parser.add_argument(
        "command", nargs="?", choices=COMMANDS, metavar="COMMAND", help=argparse.SUPPRESS
    )
    return parser


def _complete(parser: argparse.ArgumentParser) -> None:
    """Complete names of commands and of the configs of the zoo, for argcomplete."""
    import argcomplete

    from ..zoo import list_configs

    parser.add_argument("arguments", nargs="*").completer = lambda **_: list_configs()  # type: ignore[attr-defined]
    argcomplete.autocomplete(parser)
