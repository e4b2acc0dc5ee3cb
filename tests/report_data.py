"""What a report holds, unpacked as a browser does it."""

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any


def held(page: Path) -> dict[str, Any]:
    """By name, all data of a page but for the charting library."""
    blocks = re.findall(r'<script type="text/plain" id="data-([^"]+)">([^<]*)</script>', page.read_text(encoding="utf-8"))
    return {name: json.loads(gzip.decompress(base64.b64decode(text))) for name, text in blocks if name != "plotly"}
