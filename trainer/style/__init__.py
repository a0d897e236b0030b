"""How a rollout is kept in the style of its primer."""
