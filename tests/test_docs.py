"""README and docs tell the truth: every Python block runs, every link leads somewhere, every command line is one."""

import os
import re
import shlex
import subprocess
import sys
import unicodedata

import pytest
import typer

from flashmd_rs.cli.app import TRAINING

from conftest import TESTS

ROOT = TESTS.parent
DOCS = ROOT / "docs"
pytestmark = pytest.mark.skipif(not (ROOT / "mkdocs.yml").exists(), reason="not run from a source tree")

PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^(?P=indent)```", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"<!-- not run: (?P<why>.+?) -->\s*$")
FILE = re.compile(
    r"<!-- file: (?P<path>\S+) -->\n(?:<!-- .* -->\n)?```python\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL
)
LINK = re.compile(r"!?\[[^\]]*\]\((?P<target>[^)\s]+)\)")


def name(page):
    return page.relative_to(ROOT).as_posix()


def python_blocks(page):
    """The Python of a page in order, at the lines where it stands there; blocks marked as not run are left out."""
    text = page.read_text()
    blocks = []
    for match in FENCE.finditer(text):
        if match["language"] == "python" and not NOT_RUN.search(text[: match.start()]):
            before = text[: match.start("code")].count("\n")
            blocks.append("\n" * before + match["code"])
    return blocks


WITH_CODE = [page for page in PAGES if python_blocks(page)]


@pytest.mark.parametrize("page", WITH_CODE, ids=name)
def test_python_of_a_page_runs(page, tmp_path, monkeypatch):
    """In one namespace and an empty folder, with warnings as errors where they are ours."""
    import flashmd_rs

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    namespace = {"__name__": "__main__", "flashmd_rs": flashmd_rs}
    for block in python_blocks(page):
        exec(compile(block, name(page), "exec"), namespace)


def test_pages_with_code_are_found():
    found = {name(page) for page in WITH_CODE}
    assert {"README.md", "docs/getting-started.md", "docs/how-to/long-runs.md", "docs/concepts/guard.md"} <= found


def test_blocks_that_do_not_run_say_why():
    for page in PAGES:
        text = page.read_text()
        for match in FENCE.finditer(text):
            marker = NOT_RUN.search(text[: match.start()])
            assert marker is None or re.search(r"GPU|hours|CI runs the file", marker["why"]), (
                f"{name(page)}: {marker[0]}"
            )


def test_blocks_that_are_files_say_what_these_do():
    found = [(page, match) for page in PAGES for match in FILE.finditer(page.read_text())]
    assert {match["path"] for _, match in found} == {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "examples" / "hosts").glob("*.py")
    }
    for page, match in found:
        assert match["code"] == (ROOT / match["path"]).read_text(), name(page)


def test_readme_is_a_front_door():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def anchors(page):
    """Anchors of a page as mkdocs makes them: heading in ASCII, lower case, hyphens."""
    text = FENCE.sub("", page.read_text())
    made = []
    for heading in re.findall(r"^#+ +(.+)$", text, re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        plain = unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode()
        slug = re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())
        made.append(slug)
    return {f"{slug}_{n}" if n else slug for slug in made for n in range(made.count(slug))}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    text = re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text()))
    for target in (match["target"] for match in LINK.finditer(text)):
        if re.match(r"[a-z]+:", target):
            assert target.startswith("https://"), target
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{name(page)}: {target}"
        if anchor:
            assert anchor in anchors(linked), f"{name(page)}: {target}"


def test_files_that_are_named_exist():
    named = re.compile(r"`((?:tests|training|benches|rust|python|examples|fuzz|docs)/[\w./-]+)`|\b(benches/\w+\.py)")
    for page in PAGES:
        for path in ("".join(groups) for groups in named.findall(page.read_text())):
            assert (ROOT / path).exists() or page.name == "CHANGELOG.md", f"{name(page)}: {path}"


def test_every_page_says_what_it_is():
    """One heading of the first level, and a sentence below it; pages of `flashmd-rs evaluate` give their command."""
    for page in set(DOCS.rglob("*.md")) - set(DOCS.rglob("evaluation/*/*.md")):
        text = re.sub(r"\A---.*?---\s*", "", page.read_text(), flags=re.DOTALL)
        if not text.startswith("--8<--"):
            assert re.match(r"# [^\n]+\n\n(?!#)\S", text), f"{name(page)} does not open with a title and a sentence"


def command_lines(text):
    """Lines of code that call ``flashmd-rs``, and such calls in running text."""
    code = [match["code"] for match in FENCE.finditer(text) if match["language"] in ("", "bash", "sh")]
    code += re.findall(r"^ {4}(.+)$", FENCE.sub("", text), re.MULTILINE)
    code += re.findall(r"`(flashmd-rs [^`]+)`", FENCE.sub("", text).replace("\n", " "))
    for line in "\n".join(code).splitlines():
        for part in re.split(r"&&|;|\|", line.partition("#")[0]):
            if part.strip().startswith("flashmd-rs "):
                yield part.strip()


@pytest.fixture(scope="module")
def commands():
    """The options of each command of ``flashmd-rs``."""
    from flashmd_rs.cli import app

    return {key: options(command) for key, command in typer.main.get_command(app).commands.items()}


def options(command):
    """Every spelling of every option of a command."""
    spelt = [[*parameter.opts, *parameter.secondary_opts] for parameter in command.params]
    return {"--help", "-h", *(option for options in spelt for option in options)}


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=name)
def test_command_lines_are_commands(page, commands):
    for line in command_lines(page.read_text()):
        words = shlex.split(line)[1:]
        if words[0] in ("COMMAND", "…", "--help", "--version", "--install-completion"):
            continue
        assert words[0] in commands, f"{name(page)}: {line}"
        if words[0] in TRAINING:  # of the training package, where it is installed
            continue
        unknown = {word for word in words if re.match(r"--?[a-zA-Z]", word)} - commands[words[0]]
        assert not unknown, f"{name(page)}: {line}"


def test_the_page_of_the_command_line_is_complete(commands):
    """``python docs/generate_cli.py`` writes it; options, not words, are compared."""
    text = (DOCS / "reference" / "cli.md").read_text()
    sections = dict(re.findall(r"^## flashmd-rs (\w+)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    assert set(sections) == set(commands)
    for command, known in commands.items():
        if command not in TRAINING:
            wanted = {option for option in known if option.startswith("--")} - {"--help"}
            rows = re.findall(r"^\| `([^`]*)`", sections[command], re.MULTILINE)
            told = set(re.findall(r"--[a-z][\w-]*", "\n".join(rows)))
            assert told == wanted, f"flashmd-rs {command}: run python docs/generate_cli.py"


def test_the_site_builds(tmp_path):
    """``mkdocs build --strict``, where mkdocs is installed."""
    pytest.importorskip("material")
    pytest.importorskip("mkdocstrings")
    command = [sys.executable, "-m", "mkdocs", "build", "-q", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    fetched = {
        address
        for page in (tmp_path / "site").rglob("*.html")
        for address in re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"(https?://[^\"]+)", page.read_text())
    }
    assert not fetched
