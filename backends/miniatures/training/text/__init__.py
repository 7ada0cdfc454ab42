"""Tokenizers, text encoders and their pretraining: CLIP, T5, byte-pair encoding."""
