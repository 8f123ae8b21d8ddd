"""The decoder and its training in JAX: pure functions over the parameters that the torch decoder has, by its names."""
