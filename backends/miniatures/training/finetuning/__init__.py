"""Training that continues from committed weights: continual learning, reward fine-tuning."""
