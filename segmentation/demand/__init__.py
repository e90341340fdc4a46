"""What products and categories will be asked for, from how customers move between groups of buyers."""
