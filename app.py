"""CDK entry: settings in, one stack out. Makes no AWS call."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

HOME = Path(__file__).resolve().parent
sys.path.insert(0, str(HOME))

from infra.node import use_own_node  # noqa: E402

use_own_node(os.environ)

from aws_cdk import App, Environment  # noqa: E402

from contract.errors import SignspotError  # noqa: E402
from infra.settings import read_settings  # noqa: E402
from infra.stack import SignspotStack  # noqa: E402


def main() -> int:
    app = App(context=json.loads((HOME / "cdk.json").read_text(encoding="utf-8"))["context"])
    account, region = os.environ.get("CDK_DEFAULT_ACCOUNT"), os.environ.get("CDK_DEFAULT_REGION")
    try:
        settings = read_settings(app.node.get_all_context(), HOME)
    except SignspotError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    SignspotStack(
        app,
        settings=settings,
        home=HOME,
        now=datetime.now(UTC),
        env=Environment(account=account, region=region) if account and region else None,
    )
    app.synth()
    return 0


if __name__ == "__main__":
    sys.exit(main())
