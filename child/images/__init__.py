"""Children that classify images: how they are trained, and what a search over them is."""
