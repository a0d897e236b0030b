"""The demo: render a corpus, train on it, generate, and write a page."""
