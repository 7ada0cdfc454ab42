"""Train and score the miniatures: `python -m backends.miniatures train|score`."""

import argparse
import importlib
import json
import sys

from backends.miniatures.world import scene
from backends.threads import set_wait_policy

NAMES = ("diffusion", "masked", "discrete", "autoregressive", "cascade", "canny", "clip")
FAMILIES = ("diffusion", "masked", "discrete", "autoregressive", "cascade")
FURTHER = ("refine", "practise", "widen")
"""How one goes on from the committed weights; each is a function of a miniature's module."""
MODULES = {"canny": "controlnet"}
"""Where a miniature's training stands, if not in a file of its name."""


def main(arguments: list[str] | None = None) -> int:
    """The command line; heavy imports wait until it is known what to do."""
    parser = argparse.ArgumentParser(prog="python -m backends.miniatures", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    trains = commands.add_parser("train", help="train every stage of NAME, or go on with it")
    trains.add_argument("name", choices=NAMES)
    further = trains.add_mutually_exclusive_group()
    further.add_argument(
        "--refine", type=int, metavar="STEPS", help="go on from the committed weights instead"
    )
    further.add_argument(
        "--practise", type=int, metavar="STEPS", help="learn from judged pictures of its own"
    )
    further.add_argument(
        "--widen", type=int, metavar="STEPS", help="learn what is new in the world, keep the rest"
    )
    trains.add_argument(
        "--new", choices=scene.KINDS, help=f"what of the world is new to --widen: {scene.NEW}"
    )
    scores = commands.add_parser("score", help="draw held-out scenes and judge them by rule")
    scores.add_argument("name", choices=NAMES, nargs="?")
    scores.add_argument("--all", action="store_true", help="one table of every family")
    scores.add_argument("--json", action="store_true", help="print one JSON object, nothing else")
    scores.add_argument("--count", type=int, default=200, help="pictures per kind of scene")
    chosen = parser.parse_args(arguments)
    if chosen.command == "train":
        how = next((each for each in FURTHER if getattr(chosen, each) is not None), None)
        if how in ("practise", "widen") and chosen.name not in FAMILIES:
            parser.error(f"{chosen.name} can't {how}; these can: {', '.join(FAMILIES)}")
        if chosen.new and how != "widen":
            parser.error("--new goes with --widen STEPS")
        settings = {"new": chosen.new} if chosen.new else {}
        _train(chosen.name, how, steps=getattr(chosen, how) if how else 0, **settings)
    elif chosen.all == bool(chosen.name):
        parser.error("score: give a NAME or --all")
    elif chosen.all:
        _score_all(chosen.count, as_json=chosen.json)
    else:
        _score(chosen.name, chosen.count, as_json=chosen.json)
    return 0


def _train(name: str, how: str | None, *, steps: int, **settings: str) -> None:
    miniature = importlib.import_module(
        f"backends.miniatures.training.models.{MODULES.get(name, name)}"
    )
    if how is None:
        miniature.train()
    else:
        getattr(miniature, how)(steps, **settings)


def _score(name: str, count: int, *, as_json: bool) -> None:
    from backends.miniatures.training.evaluation.score import score

    result = score(name, count)
    if as_json:
        print(json.dumps(result.as_dict()))
        return
    steps = f"{result.steps} steps, " if result.steps else ""
    print(
        f"{result.name}: {result.parameters / 1e6:.1f} M parameters, {result.megabytes:.1f} MB, "
        f"{steps}{result.seconds_per_picture:.2f} s a picture"
    )
    for category, found in result.categories.items():
        share = found.passed / max(found.total, 1)
        print(f"  {category:20} {found.passed:4}/{found.total:<4} {share:7.1%}")
    if result.clip_score is not None:
        print(f"  {'CLIPScore':20} {result.clip_score:9.3f}")


def _score_all(count: int, *, as_json: bool) -> None:
    from backends.miniatures.training.evaluation.score import score_all
    from backends.miniatures.training.evaluation.table import markdown

    if as_json:
        print(json.dumps([result.as_dict() for result in score_all(count)]))
        return
    for line in markdown(score_all(count)):
        print(line, flush=True)  # a table takes minutes, and whoever stops it has its first rows


if __name__ == "__main__":
    set_wait_policy()
    sys.exit(main())
