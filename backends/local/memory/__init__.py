"""Device memory: budgets, the cache of loaded models, offload and packed weights."""
