"""Audio in, log-mel out, and back: NumPy and SciPy alone, no paths, no Beam, no TensorFlow."""
