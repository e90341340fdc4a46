"""Uplift: how much likelier an offer makes an order, for each customer, learned from who was held out by chance."""
