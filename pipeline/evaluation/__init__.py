"""How a model is judged: figures of its rollouts, limits, and the verdict."""
