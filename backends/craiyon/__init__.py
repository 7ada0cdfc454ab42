"""Craiyon, best effort."""

from backends.craiyon.backend import Craiyon as Craiyon
