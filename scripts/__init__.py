"""Programs for whoever works on the project; each runs as ``python -m scripts.NAME``. Not for: what users need."""
