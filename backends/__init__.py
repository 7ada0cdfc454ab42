"""Where pictures come from: one file per system, found by name, imported when first used."""
