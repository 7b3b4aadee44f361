"""Tool calling: call the right tool with the right arguments, or say that none fits."""
