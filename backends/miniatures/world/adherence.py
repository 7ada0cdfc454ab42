"""Whether a picture shows what was asked for, by rule: the measure behind every score."""

from dataclasses import dataclass

from backends.miniatures.world.recognition import Found, View
from backends.miniatures.world.scene import CELL, POSITIONS, SIDE, Scene, Thing


@dataclass(frozen=True, slots=True)
class Verdict:
    """What of a scene a picture gets right."""

    count: bool
    shapes: bool
    colours: bool
    background: bool
    sizes: bool
    position: bool
    relation: bool
    binding: bool
    """Each wanted colour sits on the wanted shape, wherever the things lie."""

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


def judge(view: View, scene: Scene) -> Verdict:
    """Compare what a picture shows with the scene it should show.

    Each wanted thing is paired with the found one that fits it best. Where something is missing,
    everything that would need it counts as wrong.
    """
    count = len(view.things) == len(scene.things) and view.specks == 0
    pairs = _pair_up(view.things, scene.things)
    shapes = all(found is not None and _shape(found) == _shape(wanted) for found, wanted in pairs)
    colours = all(found is not None and found.colour == wanted.colour for found, wanted in pairs)
    sizes = all(found is not None and found.size == wanted.size for found, wanted in pairs)
    seen, asked = (
        sorted((str(_shape(thing)), str(thing.colour)) for thing in things)
        for things in (view.things, scene.things)
    )
    return Verdict(
        count=count,
        shapes=shapes,
        colours=colours,
        background=(view.background, view.texture) == (scene.background, scene.texture),
        sizes=sizes,
        position=_placed(pairs[0][0], scene.position),
        relation=scene.relation is None or _related(pairs, scene.relation),
        binding=seen == asked,
    )


def fulfils(view: View, scene: Scene, full: bool) -> bool:
    """Whether a picture shows all that a caption of the scene says, a `full` one or another."""
    verdict = judge(view, scene)
    if not (verdict.counted and verdict.background):
        return False
    if scene.relation is not None:
        return verdict.relation and verdict.binding
    return not full or (verdict.sizes and (scene.number > 1 or verdict.position))


def _pair_up(
    found: tuple[Found, ...], wanted: tuple[Thing, ...]
) -> list[tuple[Found | None, Thing]]:
    def fit(one: Found | None, thing: Thing) -> int:
        return 0 if one is None else (_shape(one) == _shape(thing)) + (one.colour == thing.colour)

    first: list[Found | None] = [*found[: len(wanted)]]
    first += [None] * (len(wanted) - len(first))
    orders = [first, first[::-1]]
    best = max(orders, key=lambda order: sum(map(fit, order, wanted)))
    return list(zip(best, wanted, strict=True))


def _shape(thing: Found | Thing) -> tuple[str | None, bool]:
    """An outlined square is no square."""
    return thing.shape, thing.outlined


def _placed(found: Found | None, position: str | None) -> bool:
    if position is None:
        return True
    if found is None:
        return False
    column, row = (round((at - SIDE / 2) / CELL) for at in (found.x, found.y))
    return (min(max(column, -1), 1), min(max(row, -1), 1)) == POSITIONS[position]


def _related(pairs: list[tuple[Found | None, Thing]], relation: str) -> bool:
    (first, _), (second, _) = pairs
    if first is None or second is None:
        return False
    dx, dy = second.x - first.x, second.y - first.y
    return dx > abs(dy) if relation == "left of" else dy > abs(dx)
