"""A static page that runs a bundle's graph in the browser."""
