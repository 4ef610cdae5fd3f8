"""`python -m longform` is `longform`."""

from __future__ import annotations

import sys

from longform.cli import main

sys.exit(main())
