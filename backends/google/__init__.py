"""Google's image models over the Gemini API."""

from backends.google.backend import Google as Google
