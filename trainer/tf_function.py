"""How functions become graphs here."""

from __future__ import annotations

import functools

import tensorflow as tf

# Loops over tensors are written as tf.while_loop. AutoGraph would look for others in all Python
# that it meets, which takes seconds before the first step.
graph_function = functools.partial(tf.function, autograph=False)
