"""Instruction data: formats, splits, overlap."""
