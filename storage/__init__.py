"""The one way to read and write files, local or in a bucket."""
