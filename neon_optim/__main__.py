"""``python -m neon_optim``: the command ``neon-optim``, where its script is not on the path."""

from neon_optim.cli import main

if __name__ == "__main__":
    main()
