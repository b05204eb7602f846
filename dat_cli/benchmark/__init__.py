"""How fast networks and the loading of pictures are, as data."""
