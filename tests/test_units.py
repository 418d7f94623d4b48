"""The units of systemd: sound, narrow, and in them no secret."""

import os
import shutil
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path, PurePath

import pytest
from cli_bench import process, schedd

from scheduler.cli import units
from scheduler.cli.refused import Refused

__all__ = ["schedd"]

HERE = "etc/systemd/system"
needs_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze"
)
OF_THE_DAEMON = {
    "NotifyAccess",
    "WatchdogSec",
    "Restart",
    "RestartSec",
    "RestartPreventExitStatus",
}


class Lists(dict):
    """What a section of a unit is: settings may stand in it several times."""

    def __setitem__(self, key, value):
        if isinstance(value, list) and key in self:
            value = [*self[key], *value]
        super().__setitem__(key, value)


def section(name: str) -> dict[str, str]:
    parser = RawConfigParser(strict=False, dict_type=Lists, delimiters="=")
    parser.optionxform = str
    parser.read(units.TEMPLATES / name)
    return dict(parser["Service"])


def analyze(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *words],
        capture_output=True,
        text=True,
        env={**os.environ, **environ},
        check=False,
    )


@pytest.fixture
def finished(tmp_path_factory) -> Path:
    """Return the folder in which verbs are called: these need no experiment."""
    return tmp_path_factory.mktemp("empty")


@pytest.fixture
def install(schedd, tmp_path):
    """Write units below a folder, and return it with what was said."""

    def install(*options: str) -> tuple[Path, int, str]:
        status, out, err = schedd("install-service", "--root", str(tmp_path), *options)
        return tmp_path, status, out + err

    return install


@needs_analyze
@pytest.mark.parametrize("options", [(), ("--no-local-trials",)])
def test_systemd_has_nothing_to_say_about_the_units(install, options):
    root, status, _ = install(*options)
    assert status == 0
    names = (units.SYSTEM.keys() - {"schedd@.service"}) | {"schedd@alice.service"}
    done = analyze("verify", *(str(root / HERE / name) for name in sorted(names)))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_analyze
def test_systemd_has_nothing_to_say_about_the_units_of_a_user(install, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", "/config")
    root, status, _ = install("--user")
    assert status == 0
    files = (str(root / "config/systemd/user" / name) for name in units.USER)
    done = analyze("--user", "verify", *files, XDG_RUNTIME_DIR=str(tmp_path))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_analyze
@pytest.mark.parametrize(
    ("name", "options", "at_most"),
    [
        ("schedd.service", (), 26),
        ("schedd@.service", (), 26),
        ("schedd-tick.service", (), 26),
        ("schedd.service", ("--no-local-trials",), 15),
    ],
)
def test_the_service_is_exposed_no_more_than_it_must_be(install, name, options, at_most):
    root, _, _ = install(*options)
    offline = ("security", "--offline=true", f"--threshold={at_most}", str(root / HERE / name))
    done = analyze(*offline)
    assert done.returncode == 0, done.stdout[-200:]


def test_a_tick_is_as_narrow_as_the_daemon():
    daemon, tick = section("schedd.service"), section("schedd-tick.service")
    own = {"Type", "ExecStart", "TimeoutStartSec", "TimeoutStopSec"} | OF_THE_DAEMON
    assert {k: v for k, v in daemon.items() if k not in own} == {
        k: v for k, v in tick.items() if k not in own
    }


@pytest.mark.parametrize("name", ["schedd@.service", "user/schedd.service"])
def test_every_daemon_is_watched_and_restarted_alike(name):
    daemon, other = section("schedd.service"), section(name)
    alike = OF_THE_DAEMON | {"Type", "KillMode", "OOMPolicy", "TimeoutStopSec", "UMask"}
    assert {key: daemon[key] for key in alike} == {key: other[key] for key in alike}


def test_units_say_where_this_schedd_is_and_where_it_stores(install):
    root, status, said = install("--storage", "sqlite:////srv/a b/e.db")
    program = Path(sys.executable).with_name("schedd")
    assert status == 0
    for name in ("schedd.service", "schedd-tick.service"):
        text = (root / HERE / name).read_text()
        assert f"ExecStart={program} " in text
        assert 'Environment="SCHEDD_STORAGE=sqlite:////srv/a b/e.db"' in text
        assert 'ReadWritePaths="-/srv/a b"' in text
    assert "/srv" not in (root / HERE / "schedd@.service").read_text()
    assert "--storage 'sqlite:////srv/a b/e.db'" in said
    assert (
        (root / "etc/sysusers.d/schedd.conf").read_text().splitlines()[-1].startswith("u schedd")
    )


def test_what_is_there_is_replaced_by_force_alone(install):
    root, _, _ = install()
    assert install()[1] == 0
    unit = root / HERE / "schedd.service"
    unit.write_text("mine")
    _, status, said = install("--no-local-trials")
    assert (status, unit.read_text()) == (2, "mine")
    assert f"there is another {unit}; --force replaces it" in said
    assert not (root / HERE / units.NARROW).exists()
    assert install("--no-local-trials", "--force")[1] == 0
    assert "KillMode=mixed" in (root / HERE / units.NARROW).read_text()


def test_a_narrow_sandbox_is_left_by_force_alone(install):
    root, _, _ = install("--no-local-trials")
    _, status, said = install()
    assert (status, str(root / HERE / units.NARROW) in said) == (2, True)
    assert install("--force")[1] == 0
    assert not (root / HERE / units.NARROW).exists()


@pytest.mark.parametrize("options", [(), ("--user",)])
@pytest.mark.parametrize("secret", ["me:canary@h/d", "me@h/d?password=canary"])
def test_a_password_goes_into_no_unit(install, options, secret):
    root, status, said = install("--storage", f"postgresql://{secret}", *options)
    assert (status, list(root.iterdir())) == (2, [])
    assert "canary" not in said
    assert ("~/.pgpass" if options else "/etc/credstore/schedd.storage") in said


def test_a_schedd_that_its_user_cannot_read_is_not_installed(tmp_path):
    done = process(tmp_path, "install-service")
    if os.geteuid() != 0:
        assert "only root makes a service for the machine: sudo" in done.stderr
    else:
        monkey = Path(sys.executable).resolve()
        if not monkey.is_relative_to("/root"):
            pytest.skip("this Python may be read by everybody")
        assert "who cannot read /root: install schedd in /opt/schedd" in done.stderr
    assert done.returncode == 2


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("/opt/a-b/c", "/opt/a-b/c"),
        ("/a b/100%", '"/a b/100%%"'),
        ('it\'s \\ "so"', '"it\'s \\\\ \\"so\\""'),
    ],
)
def test_a_word_is_quoted_as_systemd_reads_it(value, word):
    assert units.quoted(value) == word


def test_a_line_break_cannot_add_a_setting():
    with pytest.raises(Refused, match="cannot stand in a unit"):
        units.quoted("/x\nUser=root")


def test_the_program_is_the_only_one_that_is_named():
    filling = units.Filling(PurePath("/p/schedd"))
    for user, names in ((False, units.SYSTEM), (True, units.USER)):
        for name in names:
            assert "ExecStart=/opt" not in units.unit(name, filling, user=user)
