from __future__ import annotations

import subprocess
import sys


def test_a_reader_that_is_gone_stops_nothing() -> None:
    code = "import sys\nfrom trainer.say import say\nfor _ in range(9): say('x' * 9999)\nsys.stderr.write('still here')"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert "still here" in process.stderr.read()
    process.stderr.close()
    process.wait()
