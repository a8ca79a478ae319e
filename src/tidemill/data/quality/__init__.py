"""What rows must be, what they are, and where those wait that are not."""
