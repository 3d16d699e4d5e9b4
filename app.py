"""CDK entry: settings in, one stack out. Makes no AWS call, but for `-c extend_hours`: what the run has now."""

from __future__ import annotations

import gc
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

HOME = Path(__file__).resolve().parent
sys.path.insert(0, str(HOME))
if __name__ == "__main__":
    gc.disable()  # what imports and constructs make stays, and would be looked through for garbage again and again

from infra.node import use_own_node  # noqa: E402

use_own_node(os.environ)

from aws_cdk import Annotations, App, Environment  # noqa: E402

from contract.errors import SignspotError  # noqa: E402
from infra.kept import extended_ceiling  # noqa: E402
from infra.settings import read_settings  # noqa: E402
from infra.stack import SignspotStack  # noqa: E402


def main() -> int:
    app = App(context=json.loads((HOME / "cdk.json").read_text(encoding="utf-8"))["context"])
    account, region = os.environ.get("CDK_DEFAULT_ACCOUNT"), os.environ.get("CDK_DEFAULT_REGION")
    try:
        settings = read_settings(app.node.get_all_context(), HOME)
        run, hours, now = settings.config.run.name, settings.extend_hours, datetime.now(UTC)
        ceiling = extended_ceiling(f"signspot-{run}", hours, region) if hours else None
    except SignspotError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    stack = SignspotStack(
        app,
        settings=settings,
        home=HOME,
        now=now,
        ceiling=ceiling,
        env=Environment(account=account, region=region) if account and region else None,
    )
    if ceiling:
        Annotations.of(stack).add_warning_v2(
            "signspot:extend",
            f"{hours:g} hours more: {ceiling}. Only with `cdk deploy --no-previous-parameters`; then "
            f"`signspot extend {run} --hours 0` tells the box that is up.",
        )
    app.synth()
    return 0


if __name__ == "__main__":
    code = main()
    gc.freeze()  # or Python looks for garbage once more as it ends
    sys.exit(code)
