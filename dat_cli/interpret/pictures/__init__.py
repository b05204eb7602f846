"""What a network looked at, drawn over the photograph."""
