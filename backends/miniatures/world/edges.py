"""Canny edges of pictures, and the agreement between two edge pictures.

The only module of the world that needs OpenCV.
"""

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
"""Boolean mask, (SIDE, SIDE)."""

LOW, HIGH = 100, 200
"""Thresholds of the Canny detector, the defaults of ControlNet's preprocessor."""


def canny(picture: Image.Image) -> Image.Image:
    """Return the Canny edges, white and one pixel wide on black: RGB, in the picture's size."""
    edges = cv2.Canny(np.asarray(picture.convert("RGB")), LOW, HIGH)
    return Image.fromarray(edges).convert("RGB")


def edge_f1(drawn: Image.Image, given: Image.Image, within: int = 2) -> float:
    """Return the F1 of two edge pictures: an edge pixel matches one at most `within` pixels
    away.
    """
    first, second = _mask(drawn), _mask(given)
    if not first.any() or not second.any():
        return float(first.any() == second.any())
    precision = float(_dilate(second, within)[first].mean())
    recall = float(_dilate(first, within)[second].mean())
    return 2 * precision * recall / max(precision + recall, 1e-9)


def _mask(picture: Image.Image) -> Mask:
    """Return the edge pixels of a picture, scaled to SIDE x SIDE."""
    grey = picture.convert("L")
    if grey.size != (SIDE, SIDE):
        grey = grey.resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(grey) > 100


def _dilate(mask: Mask, within: int) -> Mask:
    """Grow a mask by `within` pixels, with a round kernel."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * within + 1, 2 * within + 1))
    return cv2.dilate(mask.astype(np.uint8), kernel) > 0


def user_edges(scene: Scene, rng: random.Random) -> Image.Image:
    """Return the edges of a scene in one of the styles users provide: RGB, SIDE x SIDE.

    One in ten is a sketch, two in ten are Canny edges at 512 pixels scaled down, two in ten are
    thick lines, the rest plain Canny edges. Only things have edges; a texture is left to the
    prompt.
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
    """Draw the outlines of all things with jittered points and a random line width."""
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
