"""What a run leaves for people to look at: curves, confusions, mistakes, and a page with all of them."""
