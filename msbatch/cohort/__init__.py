"""From image files and a table to a store, and from a store to folds."""
