"""Pipelines on this machine: any diffusers text-to-image model, and the miniatures."""

from backends.local.backend import Local as Local
from backends.local.backend import Miniature as Miniature
