"""What pip cannot express: the CPU build of vLLM, the starter model, and what ails an installation."""
