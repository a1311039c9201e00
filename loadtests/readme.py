"""`make readme`: puts the demo as it runs now, and the newest figures, into README.md.

python -m loadtests.readme
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from .bench import RESULTS
from .report import Row, Section, format_section

README = Path(__file__).resolve().parent.parent / "README.md"


def demo() -> str:
    """The demo's transcript, under the command that shows it. Raises when the demo fails."""
    command = [sys.executable, "-m", "stoker.daemon.demo"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return f"```console\n$ make demo\n{done.stdout.rstrip()}\n```"


def figures(document: dict[str, Any]) -> str:
    """The tables of one run of the benchmark, with the machine they were taken on."""
    machine = document["machine"]
    where = (
        f"On a virtual machine with {machine['cores']} cores ({machine['cpu']}), Linux"
        f" {machine['kernel'].partition('-')[0]}, Python {machine['python']}, aiohttp"
        f" {machine['aiohttp']}, uvloop {machine['uvloop']}, on {document['at'][:10]}:"
    )
    sections = [
        Section(each["title"], [Row(**row) for row in each["rows"]], each["notes"])
        for each in document["sections"]
    ]
    tables = "\n".join(format_section(section) for section in sections).rstrip()
    return f"{where}\n\n```\n{tables}\n```"


def put(text: str, name: str, content: str) -> str:
    """The text with the content between its two marks of that name."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    return re.sub(f"{begin}.*?{end}", lambda _: f"{begin}\n{content}\n{end}", text, flags=re.DOTALL)


def newest_whole_run() -> dict[str, Any] | None:
    """The newest result that was not a quick one, if there is any."""
    for path in sorted(RESULTS.glob("*.json"), reverse=True):
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not document["quick"]:
            return document
    return None


def main() -> None:
    text = put(README.read_text(encoding="utf-8"), "demo", demo())
    document = newest_whole_run()
    if document is None:
        sys.stderr.write("readme: there are no figures yet; 'make bench' takes them\n")
    else:
        text = put(text, "bench", figures(document))
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
