"""Text encoders and tokenizers: CLIP, T5, byte-pair encoding."""
