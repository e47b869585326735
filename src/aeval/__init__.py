"""Run evaluations of language models, and of the programs built on them."""
