"""The report of a run: its figures against independent ones, and the page in a browser without a network."""

import base64
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

import flashmd_rs
from flashmd_rs import InputError, Output, rollout
from flashmd_rs.pages import write_html
from flashmd_rs.pages.html import cell
from flashmd_rs.report import read_run, write_report

from conftest import fixture_model, make_crystal

BROWSER = shutil.which("chromium-headless-shell") or shutil.which("chromium")
# Says how wide the canvas is, which chemiscope hides in a shadow tree.
CANVAS = """<script>
const find = (node) => node.querySelector("canvas")
  ?? [...node.querySelectorAll("*")].map((e) => e.shadowRoot && find(e.shadowRoot)).find(Boolean);
setInterval(() => { document.body.dataset.canvas = find(document)?.width ?? 0; }, 100);
</script></body>"""
PICTURES = ("time", "momenta", "pairs", "motion")


class Page(HTMLParser):
    """Rows of the tables, addresses and headings of a page."""

    def __init__(self, path):
        super().__init__()
        self.rows, self.headings, self.addresses, self._into = [], [], [], None
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("src", "href")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        self._into = tag if tag in ("td", "th", "h2") else self._into
        if tag == "h2":
            self.headings.append("")

    def handle_endtag(self, tag):
        if tag == self._into:
            self._into = None

    def handle_data(self, data):
        if self._into in ("td", "th"):
            self.rows[-1][-1] += data
        if self._into == "h2":
            self.headings[-1] += data

    def row(self, name):
        return next(row for row in self.rows if row and row[0] == name)


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run with everything there is to show, and its report."""
    folder = tmp_path_factory.mktemp("report")
    run = rollout(
        make_crystal(),
        fixture_model("pair_stride"),
        steps=4000,
        interval=10,
        temperature_K=60,
        seed=3,
        energy_model=fixture_model("pair_energy"),
        trajectory=folder / "run.extxyz",
        checkpoint=folder / "run.ckpt",
        progress=False,
    )
    write_report(run, folder / "run.html", command="flashmd-rs run …")
    return folder, run


@pytest.fixture(scope="module")
def page(run_folder):
    return Page(run_folder[0] / "run.html")


def test_sections(page):
    assert page.headings == [
        "Run",
        "Temperatures",
        "Conserved energy",
        "Volume",
        "Against time",
        "Momenta",
        "Structure",
        "Motion",
        "Speed",
        "Domain",
        "In three dimensions",
        "Model",
    ]


def test_settings_and_hashes(page, run_folder):
    report = run_folder[1].report
    assert report["sha256"] in page.row("model")[1]
    assert report["energy_model_sha256"] in page.row("energy model")[1]
    assert page.row("seed")[1] == "3, replica 0"
    assert "langevin" in page.row("thermostat")[1].lower()
    assert "flashmd-rs 0" in page.row("versions")[1]
    assert page.row("kind")[1] == "direct"


def test_temperatures_are_those_of_the_second_half(page, run_folder):
    kelvin = run_folder[1].temperature_K["total"]
    late = kelvin[len(kelvin) // 2 :]
    _, mean, half, off, verdict = page.row("all atoms")
    assert float(mean) == pytest.approx(late.mean(), abs=0.06)
    assert float(off) == pytest.approx(late.mean() - 60, abs=0.06)
    # An error from blocks of the same series, by the scatter of ten of them.
    blocks = [block.mean() for block in np.array_split(late, 10)]
    error = np.std(blocks, ddof=1) / 10**0.5
    assert error < float(half.removeprefix("± ")) < 5 * error
    assert verdict in ("agrees", "differs")


def test_slope_is_that_of_the_conserved_energy(page, run_folder):
    run = run_folder[1]
    slope = float(page.row("slope")[1].split()[0])
    assert slope == pytest.approx(np.polyfit(run.times_ps, run.conserved_energy, 1)[0], rel=0.05, abs=2e-4)


def test_highest_peak_of_the_crystal(page):
    """Neighbours of a simple cubic lattice, at its constant."""
    assert float(page.row("Ar–Ar")[1]) == pytest.approx(2.5, abs=0.15)


def test_everything_is_in_the_file(page, run_folder):
    folder = run_folder[0]
    inlined = [address for address in page.addresses if address.startswith("data:image/png;base64,")]
    assert len(inlined) == len(PICTURES)
    assert set(page.addresses) == set(inlined)  # no address of the web, no file beside it
    for name, address in zip(PICTURES, inlined, strict=True):
        assert base64.b64decode(address.partition(",")[2]) == (folder / f"run-{name}.png").read_bytes()


def test_report_of_files(run_folder, tmp_path):
    """What a checkpoint, or a trajectory alone, says is what the run said."""
    folder, run = run_folder
    for name in ("run.ckpt", "run.extxyz"):
        again = read_run(folder / name)
        assert np.allclose(again.times_ps, run.times_ps)
        assert np.allclose(again.temperature_K["total"], run.temperature_K["total"], atol=1e-4)
        assert np.allclose(again.total_energy, run.total_energy, atol=1e-5)
        assert np.allclose(again.pressure_bar, run.pressure_bar)
        found = Page(write_report(again, tmp_path / f"{name}.html"))
        assert {"Temperatures", "Structure", "Motion"} < set(found.headings)
    settings = Page(tmp_path / "run.ckpt.html")
    assert settings.row("sha256")[1] == run.report["sha256"]
    assert settings.row("all atoms")[3] == Page(folder / "run.html").row("all atoms")[3]


@pytest.mark.parametrize("suffix", ["xtc", "dcd", "h5md", "traj"])
def test_every_format(tmp_path, suffix):
    """XTC and DCD hold neither elements nor momenta: a checkpoint knows the first."""
    options = {"trajectory": tmp_path / f"run.{suffix}", "checkpoint": tmp_path / "run.ckpt", "progress": False}
    rollout(make_crystal(), fixture_model("pair_stride"), steps=60, temperature_K=60, **options)
    found = Page(write_report(read_run(tmp_path / "run.ckpt"), tmp_path / "run.html"))
    assert ("Temperatures" in found.headings) == (suffix in ("h5md", "traj"))
    assert "Structure" in found.headings
    assert "Motion" in found.headings


def test_the_shortest_run(tmp_path):
    """Two frames have temperatures, and nothing that needs more."""
    run = rollout(make_crystal(), fixture_model("pair_stride"), steps=1, temperature_K=60, progress=False)
    found = Page(write_report(run, tmp_path / "run.html"))
    assert found.row("all atoms")[-1] == "too short to tell"
    assert "Motion" not in found.headings


def test_last_frame_alone(tmp_path):
    run = rollout(make_crystal(), fixture_model("pair_stride"), steps=50, trajectory=Output(None), progress=False)
    assert "Temperatures" in Page(write_report(run, tmp_path / "run.html")).headings


def test_fixed_atoms_have_no_temperature_of_their_own(tmp_path):
    crystal = make_crystal()
    crystal.set_constraint(FixAtoms(range(32)))
    file = tmp_path / "run.extxyz"
    run = rollout(crystal, fixture_model("pair_stride"), steps=20, temperature_K=60, trajectory=file, progress=False)
    again = read_run(file)
    assert np.allclose(again.temperature_K["total"], run.temperature_K["total"], atol=1e-4)


def test_atoms_that_are_held_have_no_momenta_and_no_motion(tmp_path):
    crystal = make_crystal()
    crystal.set_constraint(FixAtoms(range(32)))
    options = {"steps": 400, "interval": 4, "temperature_K": 60, "seed": 1, "progress": False}
    found = Page(write_report(rollout(crystal, fixture_model("pair_stride"), **options), tmp_path / "run.html"))
    rows = [row for row in found.rows if row and row[0] == "Ar"]
    departure = float(next(row for row in rows if len(row) == 3 and row[2].isdigit())[1])
    assert departure < 5.0  # half of them at rest would be 25 % and more


def test_a_species_that_cannot_move_has_no_verdict(tmp_path):
    crystal = make_crystal()
    crystal.symbols[:32] = "Kr"
    crystal.set_constraint(FixAtoms(range(32)))
    found = Page(write_report(read_run_of(crystal, tmp_path), tmp_path / "run.html"))
    assert found.row("Kr")[1] == "cannot move"
    assert float(found.row("Ar")[1]) > 0.0


def read_run_of(atoms, folder):
    """Ten frames of a structure as they are, as a run that was read back."""
    frames = []
    for step in range(10):
        frame = atoms.copy()
        frame.info["time_ps"] = 0.1 * step
        frames.append(frame)
    ase.io.write(folder / "still.extxyz", frames)
    return read_run(folder / "still.extxyz")


def test_energies_without_momenta(tmp_path):
    frames = []
    for step in range(30):
        frame = make_crystal()
        frame.set_momenta(None)
        frame.info["time_ps"] = 0.1 * step
        frame.calc = SinglePointCalculator(frame, energy=-1.0)
        frames.append(frame)
    ase.io.write(tmp_path / "run.extxyz", frames)
    found = Page(write_report(read_run(tmp_path / "run.extxyz"), tmp_path / "run.html"))
    assert "Temperatures" not in found.headings
    assert "Total energy" not in found.headings


def test_no_motion_of_frames_that_are_unevenly_spaced(run_folder, tmp_path):
    run = read_run(run_folder[0] / "run.extxyz")
    times = run.times_ps.copy()
    times[200:] += 10 * (times[200:] - times[200])
    found = Page(write_report(replace(run, times_ps=times), tmp_path / "run.html"))
    assert "Motion" not in found.headings
    assert "Structure" in found.headings


def test_needs_no_extra(run_folder, shell, tmp_path):
    """In an installation of the package alone."""
    extras = dict.fromkeys(("openmm", "h5py", "filelock", "yaml", "MDAnalysis", "chemiscope"))
    trajectory, page = run_folder[0] / "run.extxyz", tmp_path / "run.html"
    code = (
        f"import sys; sys.modules.update({extras}); sys.argv = ['', 'report', {str(trajectory)!r}, '-o', {str(page)!r}]"
    )
    result = shell("-c", f"{code}\nfrom flashmd_rs.cli import app\napp()", module=False)
    assert result.returncode == 0, result.stderr
    assert "chemiscope is not installed" in page.read_text()


def test_violations_are_listed(tmp_path):
    hot = make_crystal(temperature_K=3000.0)
    with pytest.warns(match="replica 0"):
        run = rollout(hot, fixture_model("watched"), steps=20, progress=False)
    found = Page(write_report(run, tmp_path / "run.html"))
    for quantity, strides in run.report["statistics"]["guard"]["strides"].items():
        assert found.row(quantity)[1] == str(strides)
    assert run.report["statistics"]["guard"]["strides"]


def test_labels_are_shown_and_not_used(tmp_path):
    """What a file calls itself is text, whatever it looks like."""
    hostile = "<script>alert(1)</script> [x](javascript:alert(2)) | *a* `b` <img src=x onerror=alert(3)>"
    text = f"# {hostile}\n\n| a | b |\n|---|---|\n| {cell(hostile)} | 1 |\n\n{hostile}\n"
    write_html(text, tmp_path / "page.html", tmp_path)
    found = (tmp_path / "page.html").read_text()
    page = Page(tmp_path / "page.html")
    assert "<script>" not in found
    assert "<img" not in found
    assert page.addresses == []
    assert page.rows[1] == [hostile, "1"]


@pytest.mark.parametrize(
    "address", ["javascript:alert(1)", "java&#115;cript:alert(1)", "data:text/html,x", " vbscript:x"]
)
def test_links_that_are_no_pages_lead_nowhere(tmp_path, address):
    write_html(f"# a\n\n[x]({address}) [y](other/page.html) [z](https://a.org/b)\n", tmp_path / "page.html", tmp_path)
    assert Page(tmp_path / "page.html").addresses == ["other/page.html", "https://a.org/b"]


def test_title_is_plain(tmp_path):
    write_html(f"# {cell('pet_v2 & <x>')}: *H2O*\n", tmp_path / "page.html", tmp_path)
    assert "<title>pet_v2 &amp; &lt;x&gt;: H2O</title>" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize("name", ["my run", "it's (1)", 'a"b', "Wasser–Ø"])
def test_any_name_has_its_pictures(run_folder, tmp_path, name):
    found = Page(write_report(run_folder[1], tmp_path / f"{name}.html"))
    assert len([a for a in found.addresses if a.startswith("data:image/png;base64,")]) == len(PICTURES)


class TestErrors:
    @pytest.mark.parametrize("name", ["run", "run.pdf", "run.md"])
    def test_another_suffix(self, run_folder, tmp_path, name):
        with pytest.raises(InputError, match=r"wanted a name that ends in \.html"):
            write_report(run_folder[1], tmp_path / name)

    def test_missing_folder(self, run_folder, tmp_path):
        with pytest.raises(FileNotFoundError, match="cannot write the report"):
            write_report(run_folder[1], tmp_path / "none" / "run.html")

    def test_frames_without_times(self, tmp_path):
        make_crystal().write(tmp_path / "start.extxyz")
        with pytest.raises(InputError, match="do not say their times"):
            read_run(tmp_path / "start.extxyz")

    def test_checkpoint_without_trajectory(self, tmp_path):
        rollout(make_crystal(), fixture_model("pair_stride"), steps=4, checkpoint=tmp_path / "c", progress=False)
        with pytest.raises(InputError, match="kept no trajectory"):
            read_run(tmp_path / "c")

    def test_checkpoint_of_replicas(self, tmp_path):
        crystals = [make_crystal(), make_crystal(seed=4)]
        rollout(crystals, fixture_model("pair_stride"), steps=4, checkpoint=tmp_path / "c", progress=False)
        with pytest.raises(InputError, match="of 2 replicas"):
            read_run(tmp_path / "c")

    def test_no_such_file(self, shell):
        result = shell("report", "none.extxyz")
        assert result.returncode == 1
        assert result.stderr.startswith("error: ")


class TestCommand:
    def test_run_and_report(self, shell, tmp_path):
        make_crystal().write(tmp_path / "start.extxyz")
        options = ("--steps", 30, "--temperature-k", 60, "--trajectory", "run.extxyz", "--report", "run.html")
        result = shell("run", "start.extxyz", "--model", fixture_model("pair_stride"), *options)
        assert result.returncode == 0, result.stderr
        assert "--temperature-k 60" in (tmp_path / "run.html").read_text()
        result = shell("report", "run.extxyz", "-o", "again.html")
        assert result.returncode == 0, result.stderr
        assert "again.html" in result.stdout
        assert (tmp_path / "again.html").stat().st_size > 10_000

    def test_of_a_run_that_was_complete_before(self, shell, tmp_path):
        """A job that is requeued once more than it needs ends well."""
        make_crystal().write(tmp_path / "start.extxyz")
        command = ("run", "start.extxyz", "--model", fixture_model("pair_stride"), "--steps", 30, "--resume", "auto")
        command += ("--checkpoint", "run.ckpt", "--trajectory", "run.extxyz", "--report", "run.html")
        assert shell(*command).returncode == 0
        before = (tmp_path / "run.html").read_bytes()
        for more in ((), ("--json",)):
            result = shell(*command, *more)
            assert result.returncode == 0, result.stderr
        assert (tmp_path / "run.html").read_bytes() == before

    def test_bad_name_before_the_run(self, shell, tmp_path):
        make_crystal().write(tmp_path / "start.extxyz")
        options = ("--steps", 30, "--trajectory", "run.extxyz", "--report", "run.pdf")
        result = shell("run", "start.extxyz", "--model", fixture_model("pair_stride"), *options)
        assert result.returncode == 1
        assert not (tmp_path / "run.extxyz").exists()


class TestNotebook:
    def test_trajectory(self, run_folder):
        html = run_folder[1]._repr_html_()
        assert "ns/day" in html
        assert "data:image/png;base64," in html

    def test_model(self, models):
        html = models("pair_stride")._repr_html_()
        assert models("pair_stride").sha256 in html
        assert "2 fs" in html

    def test_view_is_a_widget(self, run_folder):
        pytest.importorskip("chemiscope")
        widget = run_folder[1].view()
        assert "StructureWidget" in type(widget).__name__

    def test_view_needs_chemiscope(self, run_folder, monkeypatch):
        monkeypatch.setattr(flashmd_rs.pages.view, "find_spec", lambda name: None)
        with pytest.raises(InputError, match=r"pip install 'flashmd-rs\[view\]'"):
            run_folder[1].view()


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
class TestBrowser:
    """The page in Chromium, opened from disk, every name of a host unknown."""

    def dom(self, path, *options):
        flags = ["--no-sandbox", "--enable-unsafe-swiftshader", "--host-resolver-rules=MAP * ~NOTFOUND"]
        command = [BROWSER, *flags, *options, "--virtual-time-budget=20000", "--enable-logging=stderr", path.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)

    def test_view_is_drawn(self, run_folder, tmp_path):
        pytest.importorskip("chemiscope")
        path = tmp_path / "page.html"
        path.write_text((run_folder[0] / "run.html").read_text().replace("</body>", CANVAS))
        result = self.dom(path, "--dump-dom", "--window-size=1200,900")
        assert 'data-view="drawn"' in result.stdout, result.stderr[-2000:]
        assert re.search(r'data-canvas="[1-9]\d\d+"', result.stdout)
        assert "Refused to" not in result.stderr  # by the page's own security policy
        assert "Uncaught" not in result.stderr

    @pytest.mark.parametrize("width", [1200, 420])
    def test_fits_its_window(self, run_folder, tmp_path, width):
        """Nothing makes the page wider than its window."""
        text = (run_folder[0] / "run.html").read_text()
        probe = "<script>document.body.dataset.width = document.documentElement.scrollWidth</script></body>"
        path = tmp_path / "page.html"
        path.write_text(text.replace("</body>", probe))
        result = self.dom(path, "--dump-dom", f"--window-size={width},900")
        # Headless Chromium has no window narrower than 500.
        assert int(re.search(r'data-width="(\d+)"', result.stdout)[1]) <= max(width, 500)
