"""Models in other people's layouts: Hugging Face directories out, and GPT-2, diary and nanoGPT checkpoints in."""
