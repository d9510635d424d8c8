"""``python -m mrrecon`` is the command line."""

import sys

from mrrecon.cli import main

sys.exit(main())
