"""Audio files in, a dataset of log-mel records out, as an Apache Beam job."""
