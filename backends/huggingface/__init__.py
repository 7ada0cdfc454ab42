"""Hugging Face Inference Providers."""

from backends.huggingface.backend import HuggingFace as HuggingFace
