"""Pictures as bytes: checked, read, encoded, previewed."""
