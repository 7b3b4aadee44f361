"""Texts as people are shown them."""


def brief(text: str, most: int = 60) -> str:
    """The beginning of what may be a megabyte: at most so many characters, the last of them "…" where it goes on."""
    return text if len(text) <= most else text[: most - 1] + "…"
