"""The staff console of the doors: connections and their messages."""
