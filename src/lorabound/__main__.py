"""``python -m lorabound``."""

from lorabound.cli import main

main()
