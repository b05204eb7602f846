"""What a network looked at in an image, as arrays and as pictures."""
