"""``python -m PWSegmentationLib.commandline`` is ``pwseg``."""

from __future__ import annotations

import sys

from PWSegmentationLib.commandline.main import main

sys.exit(main())
