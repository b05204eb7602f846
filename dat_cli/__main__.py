"""``python -m dat_cli`` is the command ``dat``."""

from dat_cli.cli.main import main

raise SystemExit(main())
