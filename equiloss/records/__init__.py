"""The files that pass between the stages, one pydantic model or documented layout each."""
