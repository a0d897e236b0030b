"""Compilation of Python functions into TensorFlow graphs."""

from __future__ import annotations

import functools

import tensorflow as tf

# tf.function without AutoGraph: loops over tensors are written as tf.while_loop, and AutoGraph's
# search for other loops in all Python code delays the first step by seconds.
graph_function = functools.partial(tf.function, autograph=False)
