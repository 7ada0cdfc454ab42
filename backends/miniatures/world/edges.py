"""Canny edges of pictures, and how well two sets of edges agree."""

import random
from dataclasses import replace
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from backends.miniatures.world.scene import SIDE, Scene, draw
from backends.miniatures.world.shapes import outline

Mask: TypeAlias = NDArray[np.bool_]

LOW, HIGH = 100, 200


def canny(picture: Image.Image) -> Image.Image:
    """White edges, one pixel wide, on black: RGB, SIDE x SIDE."""
    edges = cv2.Canny(np.asarray(picture.convert("RGB")), LOW, HIGH)
    return Image.fromarray(edges).convert("RGB")


def agreement(drawn: Image.Image, given: Image.Image, within: int = 2) -> float:
    """F1 of two edge pictures: an edge pixel counts when the other has one within `within`."""
    one, other = _mask(drawn), _mask(given)
    if not one.any() or not other.any():
        return float(one.any() == other.any())
    precision = float(_near(other, within)[one].mean())
    recall = float(_near(one, within)[other].mean())
    return 2 * precision * recall / max(precision + recall, 1e-9)


def _mask(picture: Image.Image) -> Mask:
    grey = picture.convert("L")
    if grey.size != (SIDE, SIDE):
        grey = grey.resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(grey) > 100


def _near(mask: Mask, within: int) -> Mask:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * within + 1, 2 * within + 1))
    return cv2.dilate(mask.astype(np.uint8), kernel) > 0


def as_brought(scene: Scene, rng: random.Random) -> Image.Image:
    """The edges of a scene as one user or another would bring them: RGB, SIDE x SIDE.

    They are the things'; a textured background is left to the prompt.
    """
    scene = replace(scene, texture=None)
    kind = rng.random()
    if kind < 0.1:
        return _sketch(scene, rng)
    if kind < 0.3:
        # Detectors work at 512 pixels, and the pipeline scales their thin lines down.
        large = draw(scene).resize((4 * SIDE, 4 * SIDE), Image.Resampling.BICUBIC)
        return canny(large).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    edges = canny(draw(scene))
    if kind < 0.5:
        side = rng.choice((2, 3))
        kernel = np.ones((side, side), np.uint8)
        return Image.fromarray(cv2.dilate(np.asarray(edges), kernel))
    return edges


def _sketch(scene: Scene, rng: random.Random) -> Image.Image:
    """The outlines drawn by a slightly shaky hand."""
    canvas = Image.new("RGB", (SIDE, SIDE))
    pen = ImageDraw.Draw(canvas)
    for thing in scene.things:
        for loop in outline(thing.shape):
            points = [
                (
                    thing.x + x * thing.radius + rng.uniform(-0.7, 0.7),
                    thing.y + y * thing.radius + rng.uniform(-0.7, 0.7),
                )
                for x, y in loop
            ]
            pen.line([*points, points[0]], fill="white", width=rng.choice((1, 2, 3)))
    return canvas
