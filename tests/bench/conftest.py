"""The modules of bench/ are imported by their names; nothing here measures the daemon."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
