"""`python -m agentlora` is the `agentlora` command."""

from agentlora.core.cli import main

if __name__ == "__main__":
    main()
