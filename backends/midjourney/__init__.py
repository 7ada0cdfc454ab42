"""Midjourney over Discord."""

from backends.midjourney.backend import Midjourney as Midjourney
