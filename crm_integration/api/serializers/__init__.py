"""What the resources look like, one file a noun."""
