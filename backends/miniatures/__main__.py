"""Train and score the miniatures: `python -m backends.miniatures train|score`."""

import argparse
import importlib
import json
import sys

from backends.miniatures import world
from backends.threads import set_wait_policy

NAMES = ("diffusion", "masked", "discrete", "autoregressive", "cascade", "canny", "clip")
"""Everything that can be trained and scored."""
FAMILIES = ("diffusion", "masked", "discrete", "autoregressive", "cascade")
CONTINUATIONS = {"refine": "refine", "practise": "finetune_on_reward", "widen": "extend"}
"""Flags that continue from committed weights, and the function of the model's module behind
each."""
MODULES = {"canny": "controlnet"}
"""Training modules that are not named after their miniature."""


def main(arguments: list[str] | None = None) -> int:
    """Parse the arguments and run the command, importing torch only for a valid one."""
    parser = argparse.ArgumentParser(prog="python -m backends.miniatures", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    trains = commands.add_parser("train", help="train every stage of NAME, or go on with it")
    trains.add_argument("name", choices=NAMES)
    continuations = trains.add_mutually_exclusive_group()
    continuations.add_argument(
        "--refine", type=int, metavar="STEPS", help="go on from the committed weights instead"
    )
    continuations.add_argument(
        "--practise", type=int, metavar="STEPS", help="learn from judged pictures of its own"
    )
    continuations.add_argument(
        "--widen", type=int, metavar="STEPS", help="learn what is new in the world, keep the rest"
    )
    trains.add_argument(
        "--new",
        choices=world.KINDS,
        help=f"what of the world is new to --widen: {world.NEWEST_KIND}",
    )
    scores = commands.add_parser("score", help="draw held-out scenes and judge them by rule")
    scores.add_argument("name", choices=NAMES, nargs="?")
    scores.add_argument("--all", action="store_true", help="one table of every family")
    scores.add_argument("--json", action="store_true", help="print one JSON object, nothing else")
    scores.add_argument("--count", type=int, default=200, help="pictures per kind of scene")
    parsed = parser.parse_args(arguments)
    if parsed.command == "train":
        continuation = next(
            (each for each in CONTINUATIONS if getattr(parsed, each) is not None), None
        )
        if continuation in ("practise", "widen") and parsed.name not in FAMILIES:
            parser.error(f"{parsed.name} can't {continuation}; these can: {', '.join(FAMILIES)}")
        if parsed.new and continuation != "widen":
            parser.error("--new goes with --widen STEPS")
        settings = {"new": parsed.new} if parsed.new else {}
        steps = getattr(parsed, continuation) if continuation else 0
        _train(parsed.name, continuation, steps=steps, **settings)
    elif parsed.all == bool(parsed.name):
        parser.error("score: give a NAME or --all")
    elif parsed.all:
        _score_all(parsed.count, as_json=parsed.json)
    else:
        _score(parsed.name, parsed.count, as_json=parsed.json)
    return 0


def _train(name: str, continuation: str | None, *, steps: int, **settings: str) -> None:
    """Import the miniature's training module and call the function that the flag names."""
    miniature = importlib.import_module(
        f"backends.miniatures.training.models.{MODULES.get(name, name)}"
    )
    if continuation is None:
        miniature.train()
    else:
        getattr(miniature, CONTINUATIONS[continuation])(steps, **settings)


def _score(name: str, count: int, *, as_json: bool) -> None:
    """Print the score of one miniature, as lines or as one JSON object."""
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
    """Print the scores of all families, as a Markdown table or as a JSON array."""
    from backends.miniatures.training.evaluation.score import markdown_table, score_all

    if as_json:
        print(json.dumps([result.as_dict() for result in score_all(count)]))
        return
    for line in markdown_table(score_all(count)):
        print(line, flush=True)  # a table takes minutes: print each row at once


if __name__ == "__main__":
    set_wait_policy()
    sys.exit(main())
