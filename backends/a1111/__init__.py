"""AUTOMATIC1111 and the servers that speak its API: Forge, SD.Next."""

from backends.a1111.backend import A1111 as A1111
