"""What cloud-init runs on the box: the variables that only the stack knows, then `bootstrap/user_data.sh`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

SHEBANG = "#!/bin/bash\n"


def render(variables: Mapping[str, str], script: str) -> str:
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())
    return SHEBANG + exports + script.removeprefix(SHEBANG)
