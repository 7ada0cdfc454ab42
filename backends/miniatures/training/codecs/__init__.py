"""Autoencoder, codebook and decoders: between pictures and latents or tokens."""
