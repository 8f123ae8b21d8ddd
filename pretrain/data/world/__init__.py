"""The built-in world: a generated corpus of people, topics and skills, and instruction data about it.

What a model should know is known here, so a diagnosis can be checked. See docs/world.md.
"""

from pretrain.data.world.build import documents, instructions, known_people
from pretrain.data.world.config import PRESETS, WorldConfig, parse

__all__ = ["PRESETS", "WorldConfig", "documents", "instructions", "known_people", "parse"]
