"""Model families: how each is loaded, called and previewed."""
