"""`python -m hypersdk.cli` = `hyperexport`."""

from hypersdk.cli import main

if __name__ == "__main__":
    main()
