"""The client of the Hub as we use it, and what it, the Hub or the network say in our words."""
