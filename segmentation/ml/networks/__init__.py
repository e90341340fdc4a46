"""Networks over encoded columns; each maps (n, p) numbers and (n, c) categories to (n, k, outputs)."""
