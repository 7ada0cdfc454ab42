"""OpenAI's image API, and servers that speak it."""

from backends.openai.backend import OpenAI as OpenAI
