"""Run the command as `python -m shapecfg`."""

from shapecfg.cli import main

if __name__ == "__main__":
    main()
