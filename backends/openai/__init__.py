"""OpenAI's image API, and servers that implement it."""

from backends.openai.backend import OpenAI as OpenAI
