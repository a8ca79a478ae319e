"""What a step's result depends on: its code, what that reaches, and its inputs, as one key."""
