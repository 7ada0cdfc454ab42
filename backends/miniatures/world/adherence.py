"""Decide by rule whether a picture shows its scene: the measure behind every score.

The categories resemble those of GenEval (arXiv 2310.11513): objects, count, colours, position,
attribute binding.
"""

from dataclasses import dataclass

from backends.miniatures.world.recognition import Detection, Recognition
from backends.miniatures.world.scene import CELL, POSITIONS, SIDE, Scene, Thing


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which properties of a scene a picture gets right."""

    count: bool
    shapes: bool
    colours: bool
    background: bool
    sizes: bool
    position: bool
    relation: bool
    binding: bool
    """Each required colour is on the required shape, wherever the things lie."""

    @property
    def single_object(self) -> bool:
        """One thing, with the right shape, colour and background."""
        return self.count and self.shapes and self.colours and self.background

    @property
    def two_objects(self) -> bool:
        """Both things with the right shapes and colours, in the right relation."""
        return self.count and self.shapes and self.colours and self.relation

    @property
    def textured(self) -> bool:
        """All things with the right shapes and colours where they belong, on the right texture."""
        return self.counted and self.background and self.relation and self.binding

    @property
    def outlined(self) -> bool:
        """All things with the right shapes and colours where they belong, outlined if they are."""
        return self.counted and self.relation and self.binding

    @property
    def counted(self) -> bool:
        """As many things as a group has, all with the right shape and colour."""
        return self.count and self.shapes and self.colours


def judge(view: Recognition, scene: Scene) -> Verdict:
    """Compare what was recognized on a picture with the scene that it should show.

    Each required thing is paired with the detection that fits it best. Where something is missing,
    everything that depends on it counts as wrong.
    """
    count = len(view.things) == len(scene.things) and view.specks == 0
    pairs = _pair_up(view.things, scene.things)
    shapes = all(
        found is not None and _shape_of(found) == _shape_of(wanted) for found, wanted in pairs
    )
    colours = all(found is not None and found.colour == wanted.colour for found, wanted in pairs)
    sizes = all(found is not None and found.size == wanted.size for found, wanted in pairs)
    found_looks, wanted_looks = (
        sorted((str(_shape_of(thing)), str(thing.colour)) for thing in things)
        for things in (view.things, scene.things)
    )
    return Verdict(
        count=count,
        shapes=shapes,
        colours=colours,
        background=(view.background, view.texture) == (scene.background, scene.texture),
        sizes=sizes,
        position=_is_at(pairs[0][0], scene.position),
        relation=scene.relation is None or _is_in_relation(pairs, scene.relation),
        binding=found_looks == wanted_looks,
    )


def satisfies(view: Recognition, scene: Scene, full: bool) -> bool:
    """Return whether a picture shows all that a caption of the scene states.

    A `full` caption states sizes and the position, another one may not.
    """
    verdict = judge(view, scene)
    if not (verdict.counted and verdict.background):
        return False
    if scene.relation is not None:
        return verdict.relation and verdict.binding
    return not full or (verdict.sizes and (scene.number > 1 or verdict.position))


def _pair_up(
    found: tuple[Detection, ...], wanted: tuple[Thing, ...]
) -> list[tuple[Detection | None, Thing]]:
    """Pair each required thing with a detection or None, in the order with the most agreement."""

    def agreement(detection: Detection | None, thing: Thing) -> int:
        return (
            0
            if detection is None
            else (_shape_of(detection) == _shape_of(thing)) + (detection.colour == thing.colour)
        )

    in_order: list[Detection | None] = [*found[: len(wanted)]]
    in_order += [None] * (len(wanted) - len(in_order))
    candidates = [in_order, in_order[::-1]]
    best = max(candidates, key=lambda order: sum(map(agreement, order, wanted)))
    return list(zip(best, wanted, strict=True))


def _shape_of(thing: Detection | Thing) -> tuple[str | None, bool]:
    """Return shape and outline together: an outlined square does not count as a square."""
    return thing.shape, thing.outlined


def _is_at(found: Detection | None, position: str | None) -> bool:
    """Return whether a detection lies in the named cell of the 3x3 grid; None accepts any place."""
    if position is None:
        return True
    if found is None:
        return False
    column, row = (round((at - SIDE / 2) / CELL) for at in (found.x, found.y))
    return (min(max(column, -1), 1), min(max(row, -1), 1)) == POSITIONS[position]


def _is_in_relation(pairs: list[tuple[Detection | None, Thing]], relation: str) -> bool:
    """Return whether the second of two detections lies right of or below the first."""
    (first, _), (second, _) = pairs
    if first is None or second is None:
        return False
    dx, dy = second.x - first.x, second.y - first.y
    return dx > abs(dy) if relation == "left of" else dy > abs(dx)
