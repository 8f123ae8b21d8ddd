"""The decoder, its loss, packed attention, generation, and the checkpoint that holds it."""
