"""Who may come in: throttled sign-in, second factor, and the gate before the console."""
