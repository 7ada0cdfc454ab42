"""Stability AI's image API."""

from backends.stability.backend import Stability as Stability
